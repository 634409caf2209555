"""The nodes of the station: the types of OPC 40100-1 that are used, and one vision system made of them."""

from typing import Any

from asyncua import ua

from linewatch.plc.opcua import states
from linewatch.plc.opcua.builder import Argument, Builder, variant_type
from linewatch.plc.opcua.structures import (
    ALIASES,
    DATA_TYPES,
    ENUMERATIONS,
    STATION,
    STRUCTURES,
    VISION,
    station,
    vision,
)

_IDS = ua.ObjectIds
SERVER = ua.NodeId(_IDS.Server)
SYSTEM = station("Station")
SYSTEM_TYPE, VISION_MACHINE, AUTOMATIC_MACHINE, RESULT_TYPE = map(vision, (1003, 1017, 1021, 2002))
RECIPES_TYPE, CONFIGURATIONS_TYPE, RESULTS_TYPE, RESULT_FOLDER = map(vision, (1004, 1006, 1007, 1016))
VISION_EVENT, RESULT_READY, STATE_CHANGED = vision(1015), vision(1024), vision(1018)
RECIPE_PREPARED, ERROR_EVENT, ERROR_RESOLVED, JOB_STARTED = map(vision, (1022, 1019, 1020, 1013))


def _type(name: str) -> ua.NodeId:
    """Return the id of a data type of the specification or of the standard."""
    return DATA_TYPES[name] if name in DATA_TYPES else ua.NodeId(getattr(_IDS, name))


def arguments(text: str) -> tuple[Argument, ...]:
    """Return arguments written as "Name Type, Name Type[]"."""
    found = []
    for part in filter(None, text.split(", ")):
        name, kind = part.split()
        found.append((name, _type(kind.removesuffix("[]")), kind.endswith("[]")))
    return tuple(found)


_CAUSE = "Cause Int32, CauseDescription String"
_JOB = (
    "MeasId MeasIdDataType, PartId PartIdDataType, RecipeId RecipeIdExternalDataType, "
    "ProductId ProductIdDataType, Parameters BaseDataType[]"
)
_PREPARE = "ExternalId RecipeIdExternalDataType, InternalIdIn RecipeIdInternalDataType"
_PAGE = "MaxResults UInt32, StartIndex UInt32, Timeout Int32"
_FOUND = "IsComplete Boolean, ResultCount UInt32"
_IDENTITY = (
    "MeasId MeasIdDataType, PartId PartIdDataType, ExternalRecipeId RecipeIdExternalDataType, "
    "InternalRecipeId RecipeIdInternalDataType"
)
_MACHINE, _AUTOMATIC = "VisionStateMachine", "VisionStateMachine.AutomaticModeStateMachine"
METHODS = {  # Of the specification: input and output arguments.
    f"{_MACHINE}.Halt": (_CAUSE, "Error Int32"),
    f"{_MACHINE}.Reset": (_CAUSE, "Error Int32"),
    f"{_MACHINE}.SelectModeAutomatic": ("", "Error Int32"),
    f"{_MACHINE}.ConfirmAll": ("Comment LocalizedText", ""),
    f"{_AUTOMATIC}.StartSingleJob": (_JOB, "JobId JobIdDataType, Error Int32"),
    f"{_AUTOMATIC}.StartContinuous": (_JOB, "JobId JobIdDataType, Error Int32"),
    f"{_AUTOMATIC}.Stop": (_CAUSE, "Error Int32"),
    f"{_AUTOMATIC}.Abort": (_CAUSE, "Error Int32"),
    "RecipeManagement.PrepareRecipe": (
        _PREPARE,
        "InternalIdOut RecipeIdInternalDataType, IsCompleted Boolean, Error Int32",
    ),
    "RecipeManagement.UnprepareRecipe": (_PREPARE, "InternalIdOut RecipeIdInternalDataType, Error Int32"),
    "RecipeManagement.PrepareProduct": (
        "ProductId ProductIdDataType",
        "InternalId RecipeIdInternalDataType, Error Int32",
    ),
    "RecipeManagement.GetRecipeListFiltered": (
        "ExternalId RecipeIdExternalDataType, ProductId ProductIdDataType, IsPrepared "
        f"TriStateBooleanDataType, {_PAGE}",
        f"{_FOUND}, RecipeHandle Handle, RecipeList RecipeIdInternalDataType[], Error Int32",
    ),
    "ResultManagement.GetResultById": (
        "ResultId ResultIdDataType, Timeout Int32",
        "ResultHandle Handle, Result ResultDataType, Error Int32",
    ),
    "ResultManagement.GetResultComponentsById": (
        "ResultId ResultIdDataType, Timeout Int32",
        "HasTransferableDataOnFile Boolean, ResultHandle Handle, IsPartial Boolean, IsSimulated Boolean, "
        f"ResultState ResultStateDataType, {_IDENTITY}, ProductId ProductIdDataType, ExternalConfigurationId "
        "ConfigurationIdDataType, InternalConfigurationId ConfigurationIdDataType, JobId JobIdDataType, "
        "CreationTime UtcTime, ProcessingTimes ProcessingTimesDataType, ResultContent BaseDataType[], "
        "Error Int32",
    ),
    "ResultManagement.GetResultListFiltered": (
        f"ResultState ResultStateDataType, {_IDENTITY}, ExternalConfigurationId ConfigurationIdDataType, "
        "InternalConfigurationId ConfigurationIdDataType, ProductId ProductIdDataType, JobId JobIdDataType, "
        f"{_PAGE}",
        f"{_FOUND}, ResultHandle Handle, ResultList ResultDataType[], Error Int32",
    ),
    "ResultManagement.ReleaseResultHandle": ("ResultHandle Handle", "Error Int32"),
    "ConfigurationManagement.GetConfigurationList": (
        _PAGE,
        f"{_FOUND}, ConfigurationHandle Handle, ConfigurationList ConfigurationDataType[], Error Int32",
    ),
    "ConfigurationManagement.GetConfigurationById": (
        "InternalId ConfigurationIdDataType, Timeout Int32",
        "ConfigurationHandle Handle, Configuration ConfigurationDataType, Error Int32",
    ),
    "ConfigurationManagement.ActivateConfiguration": ("InternalId ConfigurationIdDataType", "Error Int32"),
}
_ANSWER = "Code UInt16, Reason String"
OWN_METHODS = {  # With plain arguments, for clients that know no structures.
    "Trigger": ("Part String, ExpiryMs UInt32", f"Request UInt16, {_ANSWER}"),
    "SelectRecipe": ("Product String, Index UInt16", _ANSWER),
    "Pause": ("", _ANSWER),
    "Resume": ("", _ANSWER),
    "ResetFault": ("", _ANSWER),
    "SelfTest": ("", _ANSWER),
}
VARIABLES = {  # The station's own, by path: data type; "[]" is an array.
    "Live.Word": "UInt16",
    "Live.Heartbeat": "Byte",
    "Live.Ready": "Boolean",
    "Live.State": "String",
    "Live.Reason": "String",
    "Live.Product": "String",
    "Live.ProductIndex": "UInt16",
    "Live.Model": "String",
    "Live.Boot": "UInt32",
    "Live.Camera": "Boolean",
    "Verdict.Number": "UInt16",
    "Verdict.Boot": "UInt32",
    "Verdict.Seq": "UInt32",
    "Verdict.Code": "Byte",
    "Verdict.Result": "String",
    "Verdict.Reason": "UInt16",
    "Verdict.Product": "String",
    "Verdict.ProductIndex": "UInt16",
    "Verdict.Model": "String",
    "Verdict.LatencyMs": "UInt32",
    "Verdict.Score": "UInt32",
    "Verdict.Box": "Int32[]",
    "Verdict.Defects": "UInt16",
    "Verdict.Region": "String",
    "Verdict.RegionIndex": "UInt16",
    "Verdict.Trigger": "UInt16",
    "Verdict.Part": "String",
    "Verdict.Late": "Boolean",
    "Verdict.Simulated": "Boolean",
    "Verdict.CapturedTime": "UtcTime",
    "Verdict.ValidUntil": "UtcTime",
}
_RESULT_FIELDS = (
    "ResultId ResultIdDataType, IsPartial Boolean, IsSimulated Boolean, ResultState ResultStateDataType, "
    "MeasId MeasIdDataType, PartId PartIdDataType, ExternalRecipeId RecipeIdExternalDataType, "
    "InternalRecipeId RecipeIdInternalDataType, ProductId ProductIdDataType, "
    "InternalConfigurationId ConfigurationIdDataType, "
    "JobId JobIdDataType, CreationTime UtcTime, ProcessingTimes ProcessingTimesDataType, "
    "ResultContent BaseDataType[]"
)
_TRANSITION, _BASE = ua.NodeId(_IDS.TransitionEventType), ua.NodeId(_IDS.BaseEventType)
EVENTS = {  # Type: name, supertype, fields.
    VISION_EVENT: ("VisionEventType", _BASE, ""),
    RESULT_READY: ("ResultReadyEventType", _BASE, _RESULT_FIELDS),
    STATE_CHANGED: ("StateChangedEventType", _TRANSITION, ""),
    RECIPE_PREPARED: (
        "RecipePreparedEventType",
        _BASE,
        "ExternalId RecipeIdExternalDataType, InternalId RecipeIdInternalDataType, "
        "ProductId ProductIdDataType",
    ),
    ERROR_EVENT: ("ErrorEventType", _TRANSITION, ""),
    ERROR_RESOLVED: ("ErrorResolvedEventType", _TRANSITION, ""),
    JOB_STARTED: ("JobStartedEventType", _BASE, "JobId JobIdDataType"),
}


def event_fields(kind: ua.NodeId) -> list[tuple[str, ua.NodeId]]:
    """Return an event type's own fields: name and data type."""
    return [(name, data_type) for name, data_type, *_ in arguments(EVENTS[kind][2])]


def build(builder: Builder, name: str) -> None:
    """Add all nodes of a station."""
    _add_data_types(builder)
    _add_types(builder)
    _add_events(builder)
    builder.object(
        ua.NodeId(_IDS.ObjectsFolder), SYSTEM, ua.QualifiedName(name, STATION), SYSTEM_TYPE,
        reference=_IDS.Organizes, events=True,
    )  # fmt: skip
    builder.refer(SERVER, _IDS.HasNotifier, SYSTEM)
    for event in EVENTS:
        builder.refer(SYSTEM, _IDS.GeneratesEvent, event)
    _add_objects(builder)
    _add_variables(builder)
    for path, (takes, gives) in METHODS.items():
        parent, _, method = path.rpartition(".")
        qualified = ua.QualifiedName(method, VISION)
        builder.method(station(parent), station(path), qualified, arguments(takes), arguments(gives))
    for method, (takes, gives) in OWN_METHODS.items():
        qualified = ua.QualifiedName(method, STATION)
        builder.method(SYSTEM, station(method), qualified, arguments(takes), arguments(gives))


def _add_data_types(builder: Builder) -> None:
    for name, (node_id, base) in ALIASES.items():
        builder.data_type(node_id, ua.QualifiedName(name, VISION), base)
    for name, (node_id, members, first) in ENUMERATIONS.items():
        fields = [
            ua.EnumField(Value=first + place, DisplayName=ua.LocalizedText(member), Name=member)
            for place, member in enumerate(members)
        ]
        definition = ua.EnumDefinition(Fields=fields)
        builder.data_type(node_id, ua.QualifiedName(name, VISION), ua.NodeId(_IDS.Enumeration), definition)
    for name, structure in STRUCTURES.items():
        qualified, base = ua.QualifiedName(name, VISION), ua.NodeId(_IDS.Structure)
        builder.data_type(structure.data_type, qualified, base, structure.definition)
        builder.encoding(structure.data_type, structure.encoding)


def _add_types(builder: Builder) -> None:
    plain, folder = ua.NodeId(_IDS.BaseObjectType), ua.NodeId(_IDS.FolderType)
    machine = ua.NodeId(_IDS.FiniteStateMachineType)
    for node_id, name, base in (
        (SYSTEM_TYPE, "VisionSystemType", plain),
        (VISION_MACHINE, "VisionStateMachineType", machine),
        (AUTOMATIC_MACHINE, "VisionAutomaticModeStateMachineType", machine),
        (RECIPES_TYPE, "RecipeManagementType", plain),
        (CONFIGURATIONS_TYPE, "ConfigurationManagementType", plain),
        (RESULTS_TYPE, "ResultManagementType", plain),
        (RESULT_FOLDER, "ResultFolderType", folder),
    ):
        builder.object_type(node_id, ua.QualifiedName(name, VISION), base)
    variable = ua.NodeId(_IDS.BaseDataVariableType)
    result = DATA_TYPES["ResultDataType"]
    builder.variable_type(RESULT_TYPE, ua.QualifiedName("ResultType", VISION), variable, result)
    for kind, machine_states in (
        (VISION_MACHINE, states.VISION_STATES),
        (AUTOMATIC_MACHINE, states.AUTOMATIC_STATES),
    ):
        for state in machine_states:
            node_id, qualified = vision(state.node), ua.QualifiedName(state.name, VISION)
            builder.object(kind, node_id, qualified, ua.NodeId(_IDS.StateType))
            number = ua.Variant(state.number, ua.VariantType.UInt32)
            path = station(f"{state.name}.StateNumber")
            builder.property(node_id, path, "StateNumber", ua.NodeId(_IDS.UInt32), number)


def _add_events(builder: Builder) -> None:
    for node_id, (name, base, fields) in EVENTS.items():
        abstract = node_id == VISION_EVENT
        builder.object_type(node_id, ua.QualifiedName(name, VISION), base, abstract=abstract)
        for field, data_type, *_ in arguments(fields):
            builder.variable(
                node_id, station(f"{name}.{field}"), ua.QualifiedName(field, VISION), data_type,
                ua.Variant(None, ua.VariantType.Null), kind=_IDS.PropertyType, reference=_IDS.HasProperty,
            )  # fmt: skip


def _add_objects(builder: Builder) -> None:
    for path, kind in (
        (_MACHINE, VISION_MACHINE),
        (_AUTOMATIC, AUTOMATIC_MACHINE),
        ("RecipeManagement", RECIPES_TYPE),
        ("ConfigurationManagement", CONFIGURATIONS_TYPE),
        ("ResultManagement", RESULTS_TYPE),
        ("ResultManagement.Results", RESULT_FOLDER),
    ):
        parent, _, name = path.rpartition(".")
        above = station(parent) if parent else SYSTEM
        builder.object(above, station(path), ua.QualifiedName(name, VISION), kind)
    for name in ("Live", "Verdict"):
        plain = ua.NodeId(_IDS.BaseObjectType)
        builder.object(SYSTEM, station(name), ua.QualifiedName(name, STATION), plain)


def _add_variables(builder: Builder) -> None:
    text, node = ua.NodeId(_IDS.LocalizedText), ua.NodeId(_IDS.NodeId)
    for path in (_MACHINE, _AUTOMATIC):
        state = station(f"{path}.CurrentState")
        empty = ua.Variant(ua.LocalizedText(""), ua.VariantType.LocalizedText)
        builder.variable(
            station(path), state, ua.QualifiedName("CurrentState"), text, empty,
            kind=_IDS.FiniteStateVariableType,
        )  # fmt: skip
        nothing = ua.Variant(ua.NodeId(), ua.VariantType.NodeId)
        builder.property(state, station(f"{path}.CurrentState.Id"), "Id", node, nothing)
        number = ua.Variant(0, ua.VariantType.UInt32)
        path_number = station(f"{path}.CurrentState.Number")
        builder.property(state, path_number, "Number", ua.NodeId(_IDS.UInt32), number)
    for parent, name, data_type, kind in (
        (SYSTEM, "SystemState", "SystemStateDescriptionDataType", None),
        (station("ConfigurationManagement"), "ActiveConfiguration", "ConfigurationDataType", None),
        (station("ResultManagement.Results"), "Latest", "ResultDataType", RESULT_TYPE),
    ):
        builder.variable(
            parent, station(name), ua.QualifiedName(name, VISION), DATA_TYPES[data_type],
            ua.Variant(None, ua.VariantType.Null), kind=kind or _IDS.BaseDataVariableType,
        )  # fmt: skip
    for path, written in VARIABLES.items():
        parent_name, _, name = path.partition(".")
        data_type = _type(written.removesuffix("[]"))
        builder.variable(
            station(parent_name), station(path), ua.QualifiedName(name, STATION), data_type,
            ua.Variant(None, ua.VariantType.Null) if not written.endswith("[]") else _empty(data_type),
        )  # fmt: skip


def _empty(data_type: ua.NodeId) -> ua.Variant:
    return ua.Variant([], variant_type(data_type), is_array=True)


def variant(path: str, value: Any) -> ua.Variant:
    """Return the value of one of the station's own variables as it is sent."""
    written = VARIABLES[path]
    kind = variant_type(_type(written.removesuffix("[]")))
    return ua.Variant(value, kind, is_array=written.endswith("[]"))
