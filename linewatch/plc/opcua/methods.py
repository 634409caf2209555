"""The methods that clients call: each becomes a command of the station, carried out as those of MQTT."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from asyncua import ua
from asyncua.server.internal_server import InternalServer

from linewatch.domain import Answer, ReplyCode
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand
from linewatch.plc.adapter import Announce, Submit
from linewatch.plc.opcua import address_space as at
from linewatch.plc.opcua.builder import Argument, variant_type
from linewatch.plc.opcua.results import Results, job_id
from linewatch.plc.opcua.sessions import CODES, caller
from linewatch.plc.opcua.structures import new, station
from linewatch.plc.opcua.view import configuration

REQUESTS = 0xFFFF  # Numbers of triggers run from 1 to this, then from 1 again.
PART_CHARACTERS_MAX = 128
NO_HANDLE = 0  # Nothing is held for a client, so there is nothing to release.

Method = Callable[..., Awaitable[list[Any]]]
"""Takes a method's arguments, returns its results in the order of `address_space.METHODS`."""


class Denied(Exception):
    """The caller may read only."""


class Methods:
    """Carries out what clients call."""

    def __init__(
        self,
        announce: Announce,
        submit: Submit,
        products: Callable[[], dict[str, int]],
        results: Results,
        started: Callable[[str], Awaitable[None]],
    ) -> None:
        self._announce = announce
        self._submit = submit
        self._products = products
        self._results = results
        self._started = started
        self._requests = itertools.cycle(range(1, REQUESTS + 1))
        machine, automatic = "VisionStateMachine", "VisionStateMachine.AutomaticModeStateMachine"
        recipes, results_, configurations = "RecipeManagement", "ResultManagement", "ConfigurationManagement"
        self.by_path: dict[str, Method] = {
            f"{machine}.Halt": self._halt,
            f"{machine}.Reset": self._reset,
            f"{machine}.SelectModeAutomatic": self._select_automatic,
            f"{machine}.ConfirmAll": self._confirm_all,
            f"{automatic}.StartSingleJob": self._start_single_job,
            f"{automatic}.StartContinuous": self._start_continuous,
            f"{automatic}.Stop": self._refuse,
            f"{automatic}.Abort": self._refuse,
            f"{recipes}.PrepareRecipe": self._prepare_recipe,
            f"{recipes}.UnprepareRecipe": self._unprepare_recipe,
            f"{recipes}.PrepareProduct": self._prepare_product,
            f"{recipes}.GetRecipeListFiltered": self._recipe_list,
            f"{results_}.GetResultById": self._result_by_id,
            f"{results_}.GetResultComponentsById": self._result_components,
            f"{results_}.GetResultListFiltered": self._result_list,
            f"{results_}.ReleaseResultHandle": self._release,
            f"{configurations}.GetConfigurationList": self._configuration_list,
            f"{configurations}.GetConfigurationById": self._configuration_by_id,
            f"{configurations}.ActivateConfiguration": self._activate_configuration,
            "Trigger": self._trigger,
            "SelectRecipe": self._select_recipe,
            "Pause": self._plain("pause"),
            "Resume": self._plain("resume"),
            "ResetFault": self._plain("reset"),
            "SelfTest": self._plain("selftest"),
        }

    def connect(self, server: InternalServer) -> None:
        """Have the server call the methods."""
        for path, (takes, gives) in (at.METHODS | at.OWN_METHODS).items():
            kinds = [(variant_type(one[1]), len(one) > 2 and one[2]) for one in at.arguments(gives)]
            checked = _checked(self.by_path[path], at.arguments(takes), kinds)
            server.isession.add_method_callback(station(path), checked)

    # Commands

    async def _command(self, name: str, **facts: Any) -> Answer:
        """Submit a command in the caller's name and wait for its outcome. Raises Denied."""
        session = caller.get()
        if session is None or not session.who:
            raise Denied
        return await self._wait(Command(name, facts.pop("rid", 0), who=session.who, **facts))

    async def _wait(self, command: Command | InvalidCommand) -> Answer:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        def done(answer: Answer) -> None:
            try:
                loop.call_soon_threadsafe(settle, answer)
            except RuntimeError:  # The server has been stopped since.
                return

        self._submit(command, done)
        return await answered

    async def _trigger_part(self, part: str, exp_ms: int, meas_id: str) -> tuple[int, Answer]:
        """Trigger one exposure; return its number and the outcome."""
        if len(part) > PART_CHARACTERS_MAX:
            return 0, Answer(ReplyCode.BAD_ARGUMENT, f"part is longer than {PART_CHARACTERS_MAX} characters")
        request = next(self._requests)
        job = job_id(self._now.facts.boot, request)
        self._results.begin(job, meas_id)  # Before: its verdict may come first.
        answer = await self._command("trigger", rid=request, part=part, exp_ms=exp_ms)
        if answer.code is ReplyCode.DONE:
            await self._started(job)
        return request, answer

    async def _change(self, product: str, index: int = 0) -> Answer:
        """Change over to a product, by name or by the PLC's number."""
        if not product and not 1 <= index <= 999:
            return Answer(ReplyCode.BAD_ARGUMENT, f"product index {index} is not one of 1 to 999")
        return await self._command("product", product=product, index=0 if product else index)

    @property
    def _now(self) -> Announcement:
        return self._announce()

    # VisionStateMachine

    async def _halt(self, _cause: int, _why: str) -> list[Any]:
        return [_error(await self._command("pause"))]

    async def _reset(self, _cause: int, _why: str) -> list[Any]:
        paused = self._now.facts.state.value == "PAUSED"
        return [_error(await self._command("resume" if paused else "reset"))]

    async def _select_automatic(self) -> list[Any]:
        return [0]  # There is no other mode, and the station enters it by itself.

    async def _confirm_all(self, _comment: Any) -> list[Any]:
        await self._command("reset")
        return []

    async def _start_single_job(
        self, meas: Any, part: Any, recipe: Any, product: Any, _parameters: Any
    ) -> list[Any]:
        facts = self._now.facts
        for wanted in (_id(recipe), _id(product)):
            if wanted not in ("", facts.product, str(facts.product_index)):
                return [new("JobIdDataType"), -int(ReplyCode.UNKNOWN)]
        request, answer = await self._trigger_part(_id(part), 0, _id(meas))
        job = job_id(facts.boot, request) if answer.code is ReplyCode.DONE else ""
        return [new("JobIdDataType", Id=job), _error(answer)]

    async def _start_continuous(self, *_arguments: Any) -> list[Any]:
        return [new("JobIdDataType"), -int(ReplyCode.NOT_READY)]

    async def _refuse(self, *_arguments: Any) -> list[Any]:
        return [-int(ReplyCode.NOT_READY)]  # A part takes less time than the call.

    # RecipeManagement

    async def _prepare_recipe(self, external: Any, internal: Any) -> list[Any]:
        name = _id(external) or _id(internal)
        answer = await self._change(name)
        return [new("RecipeIdInternalDataType", Id=name), answer.code is ReplyCode.DONE, _error(answer)]

    async def _unprepare_recipe(self, *_arguments: Any) -> list[Any]:
        return [new("RecipeIdInternalDataType"), -int(ReplyCode.NOT_READY)]  # One is always prepared.

    async def _prepare_product(self, product: Any) -> list[Any]:
        name = _id(product)
        answer = await (self._change("", int(name)) if name.isdecimal() else self._change(name))
        return [new("RecipeIdInternalDataType", Id=self._now.facts.product), _error(answer)]

    async def _recipe_list(
        self, external: Any, product: Any, prepared: int, most: int, start: int, _timeout: int
    ) -> list[Any]:
        in_use = self._now.facts.product
        names = [
            name
            for name, index in sorted(self._products().items())
            if _id(external) in ("", name)
            and _id(product) in ("", name, str(index))
            and int(prepared) in (2, int(name == in_use))
        ]
        page, complete = _page(names, most, start)
        found = [new("RecipeIdInternalDataType", Id=name) for name in page]
        return [complete, len(found), NO_HANDLE, found, 0]

    # ResultManagement

    async def _result_by_id(self, result: Any, _timeout: int) -> list[Any]:
        found = self._results.by_id(_id(result))
        return [NO_HANDLE, found or new("ResultDataType"), 0 if found else -int(ReplyCode.UNKNOWN)]

    async def _result_components(self, result: Any, _timeout: int) -> list[Any]:
        found = self._results.by_id(_id(result)) or new("ResultDataType")
        outputs = at.arguments(at.METHODS["ResultManagement.GetResultComponentsById"][1])
        values = {"ResultHandle": NO_HANDLE, "Error": 0 if _id(found.ResultId) else -int(ReplyCode.UNKNOWN)}
        return [values.get(name, getattr(found, name, None)) for name, *_ in outputs]

    async def _result_list(
        self,
        state: int,
        meas: Any,
        part: Any,
        external: Any,
        internal: Any,
        external_configuration: Any,
        internal_configuration: Any,
        product: Any,
        job: Any,
        most: int,
        start: int,
        _timeout: int,
    ) -> list[Any]:
        found = self._results.newest_first(
            meas=_id(meas),
            part=_id(part),
            product=_id(external) or _id(internal) or _id(product),
            model=_id(external_configuration) or _id(internal_configuration),
            job=_id(job),
        )
        page, complete = _page([one for one in found if state in (0, one.ResultState)], most, start)
        return [complete, len(page), NO_HANDLE, page, 0]

    async def _release(self, _handle: int) -> list[Any]:
        return [0]

    # ConfigurationManagement: the model of the product in use

    async def _configuration_list(self, most: int, start: int, _timeout: int) -> list[Any]:
        page, complete = _page([configuration(self._now.facts.model)], most, start)
        return [complete, len(page), NO_HANDLE, page, 0]

    async def _configuration_by_id(self, wanted: Any, _timeout: int) -> list[Any]:
        known = _id(wanted) == self._now.facts.model
        return [NO_HANDLE, configuration(_id(wanted)), 0 if known else -int(ReplyCode.UNKNOWN)]

    async def _activate_configuration(self, wanted: Any) -> list[Any]:
        return [0 if _id(wanted) == self._now.facts.model else -int(ReplyCode.NOT_READY)]

    # With plain arguments

    async def _trigger(self, part: str, exp_ms: int) -> list[Any]:
        request, answer = await self._trigger_part(part or "", exp_ms, "")
        return [request, int(answer.code), answer.reason]

    async def _select_recipe(self, product: str, index: int) -> list[Any]:
        answer = await self._change(product or "", index)
        return [int(answer.code), answer.reason]

    def _plain(self, name: str) -> Method:
        async def call() -> list[Any]:
            answer = await self._command(name)
            return [int(answer.code), answer.reason]

        return call


def _checked(
    method: Method, takes: tuple[Argument, ...], gives: list[tuple[ua.VariantType, bool]]
) -> Callable[..., Awaitable[Any]]:
    """Return a method that checks its arguments and sends its results as they are declared."""

    async def call(_parent: ua.NodeId, *arguments: ua.Variant) -> Any:
        if len(arguments) != len(takes):
            fewer = len(arguments) < len(takes)
            return ua.StatusCode(CODES.BadArgumentsMissing if fewer else CODES.BadTooManyArguments)
        wrong = [not _fits(one, declared) for one, declared in zip(arguments, takes, strict=True)]
        if any(wrong):
            codes = [ua.StatusCode(CODES.BadTypeMismatch if bad else CODES.Good) for bad in wrong]
            result = ua.CallMethodResult(StatusCode=ua.StatusCode(CODES.BadInvalidArgument))
            result.InputArgumentResults = codes
            return result
        try:
            values = await method(*(one.Value for one in arguments))
        except Denied:
            return ua.StatusCode(CODES.BadUserAccessDenied)
        return [
            ua.Variant(value, kind, is_array=array)
            for value, (kind, array) in zip(values, gives, strict=True)
        ]

    return call


def _fits(argument: ua.Variant, declared: Argument) -> bool:
    """Whether an argument has the declared type; a structure may be left out, as null."""
    kind, is_array = variant_type(declared[1]), len(declared) > 2 and declared[2]
    if argument.VariantType is ua.VariantType.Null or argument.Value is None:
        return kind in (
            ua.VariantType.ExtensionObject,
            ua.VariantType.String,
            ua.VariantType.LocalizedText,
        ) or (is_array)
    if is_array:
        return isinstance(argument.Value, list)
    if kind is ua.VariantType.ExtensionObject:
        return argument.VariantType is kind and not isinstance(argument.Value, list)
    return argument.VariantType is kind and not isinstance(argument.Value, list)


def _id(structure: Any) -> str:
    """Return the Id of a structure, "" if it is null or has none."""
    return str(getattr(structure, "Id", "") or "").strip()


def _error(answer: Answer) -> int:
    """Return a method's Error: 0, or below 0 the code of MQTT's commands, which is the application's own."""
    return -int(answer.code)


def _page(found: list[Any], most: int, start: int) -> tuple[list[Any], bool]:
    """Return what a client wants of a list, and whether that is its end; `most` 0 is all."""
    page = found[start : start + most] if most else found[start:]
    return page, start + len(page) >= len(found)
