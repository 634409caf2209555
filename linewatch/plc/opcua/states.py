"""The station's states as those of OPC 40100-1: state machines (clause 8) and SystemState (12.21). No I/O."""

from dataclasses import dataclass

from linewatch.domain import State

BUSY = 1 << 2  # In the status word: a part is being judged.


@dataclass(frozen=True, slots=True)
class MachineState:
    """A state of one of the specification's state machines."""

    name: str
    node: int  # In the specification's namespace.
    number: int


PREOPERATIONAL = MachineState("Preoperational", 5028, 1)
HALTED = MachineState("Halted", 5029, 2)
ERROR = MachineState("Error", 5030, 3)
OPERATIONAL = MachineState("Operational", 5031, 4)
VISION_STATES = (PREOPERATIONAL, HALTED, ERROR, OPERATIONAL)

INITIALIZED = MachineState("Initialized", 5056, 5)
READY = MachineState("Ready", 5057, 6)
SINGLE = MachineState("SingleExecution", 5058, 7)
CONTINUOUS = MachineState("ContinuousExecution", 5059, 8)
AUTOMATIC_STATES = (INITIALIZED, READY, SINGLE, CONTINUOUS)

_VISION = {
    State.STARTING: PREOPERATIONAL,
    State.SELFTEST: PREOPERATIONAL,
    State.CHANGEOVER: OPERATIONAL,
    State.READY: OPERATIONAL,
    State.DEGRADED: OPERATIONAL,
    State.PAUSED: HALTED,
    State.FAULT: ERROR,
    State.STOPPED: HALTED,
}
PRODUCTION, STAND_BY, ENGINEERING, SCHEDULED, UNSCHEDULED, NON_SCHEDULED = range(1, 7)
_SYSTEM = {
    State.STARTING: SCHEDULED,
    State.SELFTEST: SCHEDULED,
    State.CHANGEOVER: SCHEDULED,
    State.PAUSED: ENGINEERING,
    State.FAULT: UNSCHEDULED,
    State.STOPPED: NON_SCHEDULED,
}


def vision_state(state: State) -> MachineState:
    """Return the state of the VisionStateMachine."""
    return _VISION[state]


def automatic_state(state: State, word: int, *, triggered: bool) -> MachineState | None:
    """Return the state of the AutomaticModeStateMachine; None while the one above it is not Operational.

    A line whose parts are not `triggered` by clients executes continuously. A recipe is prepared whenever a
    part can pass.
    """
    if _VISION[state] is not OPERATIONAL:
        return None
    if not state.judging:
        return INITIALIZED
    if not triggered:
        return CONTINUOUS
    return SINGLE if word & BUSY else READY


def system_state(state: State, word: int, *, triggered: bool) -> int:
    """Return SystemState after SEMI E10, 1 to 6."""
    if not state.judging:
        return _SYSTEM[state]
    return STAND_BY if triggered and not word & BUSY else PRODUCTION
