"""The nodes of the standard namespace that the server shows, as a pickle.

asyncua's standard address space has 6,000 nodes and takes 52 MB, most of it for parts of the standard that a
station has not. So a short-lived process builds it, keeps what is reachable from a few roots, and gives that
to the daemon: a fifth of the memory, and no second of the line's interpreter.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable

from asyncua import ua
from asyncua.server.address_space import AddressSpace, NodeData, NodeManagementService

from linewatch.errors import LinewatchError

BUILD_S = 120.0  # On a busy machine; two seconds on an idle one.
NICENESS = 10

Nodes = dict[ua.NodeId, NodeData]

_IDS = ua.ObjectIds
_ROOTS = (
    _IDS.RootFolder,
    _IDS.ObjectsFolder,
    _IDS.TypesFolder,
    _IDS.ViewsFolder,
    _IDS.ObjectTypesFolder,
    _IDS.VariableTypesFolder,
    _IDS.DataTypesFolder,
    _IDS.ReferenceTypesFolder,
    _IDS.EventTypesFolder,
    _IDS.Server,
    _IDS.FolderType,
    _IDS.DataTypeEncodingType,
    _IDS.ModellingRule_Mandatory,
    _IDS.ModellingRule_Optional,
    _IDS.FiniteStateMachineType,
    _IDS.InitialStateType,
    _IDS.StateType,
    _IDS.TransitionType,
    _IDS.FiniteStateVariableType,
    _IDS.BaseEventType,
    _IDS.TransitionEventType,
    _IDS.Argument,
    _IDS.Enumeration,
    _IDS.Duration,
    _IDS.UtcTime,
    _IDS.NodeId,
    _IDS.ByteString,
    _IDS.Boolean,
    _IDS.UInt16,
    _IDS.UInt32,
    _IDS.UInt64,
    _IDS.Int32,
    _IDS.QualifiedName,
    _IDS.LocalizedText,
    _IDS.References,  # With all its subtypes.
)
_LEFT_OUT = (
    _IDS.Server_Namespaces,
    _IDS.Server_ServerDiagnostics,
    _IDS.ServerType,  # The instance tells what there is.
    _IDS.HistoryServerCapabilities,
    _IDS.ServerConfiguration,
    _IDS.PublishSubscribe,
    _IDS.Server_ServerCapabilities_RoleSet,
    _IDS.Server_ServerCapabilities_AggregateFunctions,
    _IDS.Server_GetMonitoredItems,
    _IDS.Server_ResendData,
    _IDS.Server_SetSubscriptionDurable,
    _IDS.Server_RequestServerStateChange,
)
_DOWNWARD = {_IDS.HasComponent, _IDS.HasProperty, _IDS.HasTypeDefinition, _IDS.HasModellingRule}


def load() -> Nodes:
    """Return the nodes, built by a process of their own. Raises LinewatchError when it fails."""
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, capture_output=True, timeout=BUILD_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "stderr", b"") or str(error).encode()
        raise LinewatchError(f"opcua: the standard nodes were not built: {why.decode()[-300:]}") from error
    nodes: Nodes = pickle.loads(done.stdout)  # Of our own process.
    return nodes


def build() -> Nodes:
    """Return the kept part of asyncua's standard address space."""
    # Only here: the modules with all nodes take 12 MB.
    from asyncua.server.standard_address_space.standard_address_space import (  # noqa: PLC0415
        fill_address_space,
    )

    space = AddressSpace()
    fill_address_space(NodeManagementService(space))
    nodes: Nodes = {node_id: space[node_id] for node_id in space.keys()}  # noqa: SIM118 - it is no dict
    kept = _reachable(nodes)
    for node_id in kept:
        node = nodes[node_id]
        node.references = [reference for reference in node.references if reference.NodeId in kept]
    return {node_id: nodes[node_id] for node_id in kept}


def _reachable(nodes: Nodes) -> set[ua.NodeId]:
    left_out = {ua.NodeId(number) for number in _LEFT_OUT}
    waiting = [ua.NodeId(number) for number in _ROOTS]
    kept: set[ua.NodeId] = set()
    while waiting:
        node_id = waiting.pop()
        if node_id in kept or node_id in left_out or node_id not in nodes:
            continue
        kept.add(node_id)
        waiting += _neighbours(nodes[node_id])
    return kept


def _neighbours(node: NodeData) -> Iterable[ua.NodeId]:
    """Yield a node's parts, type, data type and supertypes; of a reference type its subtypes, too."""
    node_class = node.attributes[ua.AttributeIds.NodeClass].value.Value.Value
    for reference in node.references:
        kind = reference.ReferenceTypeId.Identifier
        subtype = kind == _IDS.HasSubtype
        if reference.IsForward and (
            kind in _DOWNWARD or (subtype and node_class is ua.NodeClass.ReferenceType)
        ):
            yield reference.NodeId
        if subtype and not reference.IsForward:
            yield reference.NodeId
    data_type = node.attributes.get(ua.AttributeIds.DataType)
    if data_type is not None:
        yield data_type.value.Value.Value


if __name__ == "__main__":
    os.nice(NICENESS)
    pickle.dump(build(), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
