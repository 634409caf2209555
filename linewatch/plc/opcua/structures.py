"""Data types of OPC 40100-1 (clause 12), with the numbers of its node set, as classes of asyncua."""

import logging
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from asyncua import ua
from asyncua.common.structures104 import make_structure

# It tells of every request, and of what clients do wrong, which is counted.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)

VISION_URI = "http://opcfoundation.org/UA/MachineVision"
STATION_URI = "urn:linewatch:opcua"  # Of what the specification does not have.
VISION, STATION = 2, 3  # Their namespace indexes; 1 is the server's own.

_IDS = ua.ObjectIds


def vision(number: int) -> ua.NodeId:
    """Return a node id of the specification."""
    return ua.NodeId(number, VISION)


def station(path: str) -> ua.NodeId:
    """Return a node id of the station, such as "Verdict.Code"."""
    return ua.NodeId(path, STATION)


@dataclass(frozen=True)
class Field:
    """A field of a structure."""

    name: str
    data_type: ua.NodeId
    optional: bool = False
    array: bool = False


@dataclass(frozen=True)
class Structure:
    """A structured data type and its binary encoding."""

    data_type: ua.NodeId
    encoding: ua.NodeId
    fields: tuple[Field, ...]

    @property
    def definition(self) -> ua.StructureDefinition:
        """Its fields, for clients that learn the type from the server."""
        optional = any(field.optional for field in self.fields)
        kind = ua.StructureType.StructureWithOptionalFields if optional else ua.StructureType.Structure
        return ua.StructureDefinition(
            DefaultEncodingId=self.encoding,
            BaseDataType=ua.NodeId(_IDS.Structure),
            StructureType=kind,
            Fields=[_structure_field(field) for field in self.fields],
        )


def _structure_field(field: Field) -> ua.StructureField:
    rank = ua.ValueRank.OneDimension if field.array else ua.ValueRank.Scalar
    return ua.StructureField(
        Name=field.name,
        Description=ua.LocalizedText(field.name),
        DataType=field.data_type,
        ValueRank=rank,
        ArrayDimensions=[0] if field.array else [],
        IsOptional=field.optional,
    )


RESULT_STATE, TRIMMED, HANDLE, SYSTEM_STATE = vision(3009), vision(3017), vision(3018), vision(3023)
ALIASES = {  # Subtypes of built-in types that add only a meaning.
    "ResultStateDataType": (RESULT_STATE, ua.NodeId(_IDS.Int32)),
    "TrimmedString": (TRIMMED, ua.NodeId(_IDS.String)),
    "Handle": (HANDLE, ua.NodeId(_IDS.UInt32)),
}
ENUMERATIONS = {
    "TriStateBooleanDataType": (vision(3014), ("FALSE_0", "TRUE_1", "DONTCARE_2"), 0),
    "SystemStateDataType": (SYSTEM_STATE, ("PRD_1", "SBY_2", "ENG_3", "SDT_4", "UDT_5", "NST_6"), 1),
}


def _built_in(name: str) -> ua.NodeId:
    return ua.NodeId(getattr(_IDS, name))


_ID = Field("Id", TRIMMED)
_DESCRIPTION = Field("Description", _built_in("LocalizedText"), optional=True)
_BINARY_ID = (
    _ID,
    Field("Version", TRIMMED, optional=True),
    Field("Hash", _built_in("ByteString"), optional=True),
    Field("HashAlgorithm", _built_in("String"), optional=True),
    _DESCRIPTION,
)
_CONFIGURATION_ID, _RECIPE_EXTERNAL, _RECIPE_INTERNAL = vision(3008), vision(3002), vision(3013)
_MEAS_ID, _PART_ID, _PRODUCT_ID, _JOB_ID = vision(3015), vision(3004), vision(3003), vision(3016)
_RESULT_ID, _TIMES = vision(3021), vision(3005)
_BOOLEAN, _UTC, _DURATION = _built_in("Boolean"), _built_in("UtcTime"), _built_in("Duration")

STRUCTURES = {  # Each after those that it contains.
    "ConfigurationIdDataType": Structure(_CONFIGURATION_ID, vision(5090), _BINARY_ID),
    "RecipeIdExternalDataType": Structure(_RECIPE_EXTERNAL, vision(5002), _BINARY_ID),
    "RecipeIdInternalDataType": Structure(_RECIPE_INTERNAL, vision(5268), _BINARY_ID),
    "MeasIdDataType": Structure(_MEAS_ID, vision(5006), (_ID, _DESCRIPTION)),
    "PartIdDataType": Structure(_PART_ID, vision(5013), (_ID, _DESCRIPTION)),
    "ProductIdDataType": Structure(_PRODUCT_ID, vision(5224), (_ID, _DESCRIPTION)),
    "JobIdDataType": Structure(_JOB_ID, vision(5008), (_ID,)),
    "ResultIdDataType": Structure(_RESULT_ID, vision(5274), (_ID,)),
    "ProductDataType": Structure(vision(3020), vision(5272), (Field("ExternalId", _PRODUCT_ID),)),
    "ProcessingTimesDataType": Structure(
        _TIMES,
        vision(5016),
        (
            Field("StartTime", _UTC),
            Field("EndTime", _UTC),
            Field("AcquisitionDuration", _DURATION, optional=True),
            Field("ProcessingDuration", _DURATION, optional=True),
        ),
    ),
    "ConfigurationDataType": Structure(
        vision(3007),
        vision(5088),
        (
            Field("HasTransferableDataOnFile", _BOOLEAN, optional=True),
            Field("ExternalId", _CONFIGURATION_ID, optional=True),
            Field("InternalId", _CONFIGURATION_ID),
            Field("LastModified", _UTC),
        ),
    ),
    "SystemStateDescriptionDataType": Structure(
        vision(3024),
        vision(5278),
        (Field("State", SYSTEM_STATE), Field("StateDescription", TRIMMED, optional=True)),
    ),
    "ResultDataType": Structure(
        vision(3006),
        vision(5018),
        (
            Field("ResultId", _RESULT_ID),
            Field("HasTransferableDataOnFile", _BOOLEAN, optional=True),
            Field("IsPartial", _BOOLEAN),
            Field("IsSimulated", _BOOLEAN, optional=True),
            Field("ResultState", RESULT_STATE),
            Field("MeasId", _MEAS_ID, optional=True),
            Field("PartId", _PART_ID, optional=True),
            Field("ExternalRecipeId", _RECIPE_EXTERNAL, optional=True),
            Field("InternalRecipeId", _RECIPE_INTERNAL),
            Field("ProductId", _PRODUCT_ID, optional=True),
            Field("ExternalConfigurationId", _CONFIGURATION_ID, optional=True),
            Field("InternalConfigurationId", _CONFIGURATION_ID),
            Field("JobId", _JOB_ID),
            Field("CreationTime", _UTC),
            Field("ProcessingTimes", _TIMES, optional=True),
            Field("ResultContent", _built_in("BaseDataType"), optional=True, array=True),
        ),
    ),
}
DATA_TYPES = (  # By name, as in the arguments of methods.
    {name: structure.data_type for name, structure in STRUCTURES.items()}
    | {name: data_type for name, (data_type, _) in ALIASES.items()}
    | {name: data_type for name, (data_type, _, _) in ENUMERATIONS.items()}
)


def _register() -> dict[str, Any]:
    """Make the classes and tell asyncua which ids they have on the wire."""
    for data_type, base in ALIASES.values():
        ua.basetype_by_datatype[data_type] = ua.ObjectIdNames[int(base.Identifier)]
    for name, (data_type, members, first) in ENUMERATIONS.items():
        ua.register_enum(name, data_type, _enumeration(name, members, first))
    classes: dict[str, Any] = {}
    for name, structure in STRUCTURES.items():
        made = make_structure(structure.data_type, name, structure.definition)
        classes |= made
        ua.register_extension_object(name, structure.encoding, made[name], structure.data_type)
    return classes


def _enumeration(name: str, members: tuple[str, ...], first: int) -> type:
    return IntEnum(name, members, start=first)  # type: ignore[return-value]


_CLASSES = _register()


def new(name: str, **fields: Any) -> Any:
    """Return a structure of the specification, such as `new("JobIdDataType", Id="41-7")`."""
    return _CLASSES[name](**fields)
