"""Answer Modbus requests from registers, with the messages of pymodbus."""

import logging
from collections.abc import Sequence

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadWriteMultipleRegistersRequest

from linewatch.plc.modbus.registers import Registers

HEADER_BYTES = 7  # Transaction, protocol, length, unit (MBAP header of the Modbus TCP guide, 3.1.3).
PDU_BYTES_MAX = 253
FUNCTIONS = {3: 5, 4: 5, 6: 5, 16: None, 23: None}  # Supported codes, with the PDU's length if it is fixed.

# It warns of every request that cannot be decoded; those are counted.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class Codec:
    """Answers requests from registers. One request is carried out whole before the next one of any client."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self._decoder = DecodePDU(is_server=True)
        self._framer = FramerSocket(self._decoder)

    async def respond(self, header: bytes, pdu: bytes) -> tuple[bytes, bool]:
        """Return the response to one request, and whether it is a success rather than an exception."""
        response = await self._response(pdu)
        response.transaction_id = int.from_bytes(header[:2], "big")
        response.dev_id = header[6]
        return self._framer.buildFrame(response), not isinstance(response, ExceptionResponse)

    async def _response(self, pdu: bytes) -> ModbusPDU:
        function = pdu[0]
        if function not in FUNCTIONS:
            return ExceptionResponse(function & 0x7F, ExcCodes.ILLEGAL_FUNCTION)
        request = self._decoder.decode(pdu) if FUNCTIONS[function] in (None, len(pdu)) else None
        if request is None:
            return ExceptionResponse(function, ExcCodes.ILLEGAL_VALUE)
        if isinstance(request, ReadWriteMultipleRegistersRequest) and not self._readable(request):
            return ExceptionResponse(function, ExcCodes.ILLEGAL_ADDRESS)  # Before anything is written.
        return await request.datastore_update(self, 0)  # type: ignore[arg-type]  # It calls the two below.

    def _readable(self, request: ReadWriteMultipleRegistersRequest) -> bool:
        return self._registers.read(request.read_address, request.read_count) is not None

    async def async_getValues(  # noqa: N802 - pymodbus calls it
        self, _device: int, _function: int, address: int, count: int = 1
    ) -> list[int] | ExcCodes:
        """Return registers for pymodbus."""
        registers = self._registers.read(address, count)
        return ExcCodes.ILLEGAL_ADDRESS if registers is None else registers

    async def async_setValues(  # noqa: N802 - pymodbus calls it
        self, _device: int, _function: int, address: int, values: Sequence[int]
    ) -> ExcCodes | None:
        """Write registers for pymodbus."""
        return None if self._registers.write(address, values) else ExcCodes.ILLEGAL_ADDRESS
