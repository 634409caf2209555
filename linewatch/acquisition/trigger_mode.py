"""Choose the trigger mode that the settings ask for."""

import logging
import threading
from collections.abc import Callable

from linewatch.acquisition.multiview import MultiView
from linewatch.acquisition.part_trigger import PartTriggered, empty_belt
from linewatch.acquisition.triggers import CommandTriggered, FreeRun, TriggerMode, TriggerRequest
from linewatch.domain import Image
from linewatch.errors import ConfigError, NotThereYet
from linewatch.runtime.lane import Lane
from linewatch.settings import Settings, TriggerSettings

log = logging.getLogger(__name__)

PATIENCE = 0.6  # Of the deadline; the rest is for publishing that there is no image.


def is_triggered(settings: Settings) -> bool:
    """Return whether exposures are triggered by command. Raises ConfigError."""
    links = (settings.mqtt, settings.modbus, settings.opcua)
    if settings.trigger.mode == "mqtt" and not any(link.enabled for link in links):
        raise ConfigError(
            'trigger.mode "mqtt" needs mqtt.enabled = true, modbus.enabled = true or opcua.enabled = true; '
            "without any of them no trigger arrives"
        )
    return settings.trigger.mode == "mqtt"


def trigger_mode(
    settings: Settings,
    triggers: Lane[TriggerRequest],
    places: threading.Semaphore | None,
    impaired: Callable[[str], None],
) -> TriggerMode:
    """Return what decides when to expose. Raises ConfigError for unusable images of the empty belt.

    `places` limits the parts of a recording in the line; `impaired` gets the reason while the part
    trigger cannot work.
    """
    patience_s = PATIENCE * settings.limits.deadline_ms / 1000
    trigger, fps = settings.trigger, settings.source.fps
    mode: TriggerMode
    match trigger.mode:
        case "mqtt":
            mode = CommandTriggered(triggers, patience_s)
        case "part":
            mode = PartTriggered(trigger.axis, fps, impaired, _empty_belt(trigger, impaired))
        case "free":
            mode = FreeRun(fps, every=settings.hardware_triggered, places=places)
    return mode if trigger.views == 1 else MultiView(mode, trigger.views, patience_s)


def _empty_belt(trigger: TriggerSettings, impaired: Callable[[str], None]) -> list[Image]:
    """Return the images of the empty belt; [], so that it is learnt, while their share is not mounted."""
    try:
        return empty_belt(trigger)
    except NotThereYet as trouble:
        log.warning("background_missing reason=%r", str(trouble))
        impaired(str(trouble))
        return []
