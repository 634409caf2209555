"""Choose the trigger mode that the settings ask for."""

import threading
from collections.abc import Callable

from linewatch.acquisition.multiview import MultiView
from linewatch.acquisition.part_trigger import PartTriggered, empty_belt
from linewatch.acquisition.triggers import CommandTriggered, FreeRun, TriggerMode, TriggerRequest
from linewatch.errors import ConfigError
from linewatch.runtime.lane import Lane
from linewatch.settings import Settings

PATIENCE = 0.6  # Of the deadline; the rest is for publishing that there is no image.


def is_triggered(settings: Settings) -> bool:
    """Return whether exposures are triggered over MQTT. Raises ConfigError."""
    if settings.trigger.mode == "mqtt" and not settings.mqtt.enabled:
        raise ConfigError('trigger.mode "mqtt" needs mqtt.enabled = true; without MQTT no trigger arrives')
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
            mode = PartTriggered(trigger.axis, fps, impaired, empty_belt(trigger))
        case "free":
            mode = FreeRun(fps, every=settings.hardware_triggered, places=places)
    return mode if trigger.views == 1 else MultiView(mode, trigger.views, patience_s)
