"""The `linewatch msa` commands: how well does the station find known parts (measurement system analysis)."""

import hashlib
import importlib.util
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from linewatch.cli.options import Config, Product, load_settings, missing_extra, show_help, write_text
from linewatch.errors import UsageError

if TYPE_CHECKING:
    from linewatch.capability.study import Limits, Study
    from linewatch.capability.walk import Place
    from linewatch.domain import Verdict
    from linewatch.storage.journal_reader import JournalReader

POLL_S = 0.2

msa_app = typer.Typer(
    callback=show_help,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Prove what the station finds: a study with known parts. See docs/capability.md.",
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.json", help="Written by linewatch msa plan.")]
By = Literal["part", "count"]


@msa_app.command("size")
def size(
    below: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Rate to prove, 0 to 1.")] = 0.05,
) -> None:
    """Say how many parts prove that a rate is below a limit. With 95 % confidence, before a study begins."""
    _require_scipy()
    from linewatch.capability.intervals import parts_to_prove

    for misses in range(4):
        typer.echo(
            f"{parts_to_prove(below, misses):5} parts, at most {misses} of them misjudged, prove a rate "
            f"below {below:.2%}"
        )


@msa_app.command("plan")
def plan(
    product: Product,
    parts: Annotated[Path, typer.Option(help="CSV file with the columns part and truth (good or defect).")],
    out: Annotated[Path, typer.Option(help="File of the study.")],
    who: Annotated[list[str], typer.Option(help="Who presents the parts; may be repeated.")],
    passes: Annotated[int, typer.Option(min=2, max=20, help="How often each part is judged.")] = 3,
    by: Annotated[By, typer.Option(help="A verdict is the part's by its id, or by being the next.")] = "part",
    seed: Annotated[int | None, typer.Option(help="Of the drawn order; default: another each time.")] = None,
    miss_below: Annotated[float | None, typer.Option(help="Miss rate to prove, 0 to 0.5.")] = None,
    false_alarm_below: Annotated[
        float | None, typer.Option(help="False alarm rate to prove, 0 to 0.5.")
    ] = None,
) -> None:
    """Plan a study: draw the order of the parts and say what it can prove."""
    _require_scipy()
    from linewatch.capability import study as studies
    from linewatch.capability.prospect import prospects

    if out.exists():
        raise UsageError(f"{str(out)!r} exists already; name another file with --out")
    known = studies.read_parts(parts)
    drawn = time.time_ns() if seed is None else seed
    limits = _limits(miss_below, false_alarm_below)
    planned = studies.plan(
        known, product=product, passes=passes, by=by, people=who, seed=drawn, limits=limits
    )
    studies.save(planned, out)
    good = sum(part.truth == "good" for part in planned.parts)
    for one in prospects(good, len(planned.parts) - good, limits):
        what = "missed" if one.truth == "defect" else "rejected"
        typer.echo(
            f"{one.parts} {one.truth} parts: if none is {what}, the rate is below {one.if_none:.1%}; "
            f"if one is, below {one.if_one:.1%} (95 % confidence)"
        )
        if one.limit is not None and not one.possible:
            typer.echo(f"  they cannot prove a rate below {one.limit:.1%}: that takes {one.needed[0]} parts")
    typer.echo(f"{passes} passes of {len(planned.parts)} parts; begin: linewatch msa run {out}")


@msa_app.command("run")
def run(study: StudyFile, config: Config = None) -> None:
    """Walk through a study at the running station. Ctrl+C pauses it; run it again to go on."""
    from linewatch.capability import study as studies
    from linewatch.capability.walk import hold_station, judge_next, newest
    from linewatch.storage.journal_reader import JournalFile, JournalReader

    settings = load_settings(config)
    current = studies.load(study)
    if not settings.journal.path.is_file():
        raise UsageError(f"there is no journal {str(settings.journal.path)!r}; start the station first")
    with hold_station(settings), JournalReader(JournalFile(settings.journal.path)) as reader:
        while (step := current.next_step) is not None:
            typer.echo(f"pass {step[0] + 1} of {current.passes}: present part {step[1]} ...", nl=False)
            verdict = _wait_for_verdict(reader, current, newest(reader))
            after = judge_next(current, verdict, settings)
            again = len(after.judged) == len(current.judged)
            typer.echo(f" {verdict.result}{' - not judged, present it again' if again else ''}")
            current = after
            studies.save(current, study)
    typer.echo(f"complete; the result: linewatch msa report {study} --html study.html")


@msa_app.command("report")
def report(
    study: StudyFile,
    html: Annotated[Path, typer.Option(help="Page to write.")],
    config: Config = None,
) -> None:
    """Write the result of a study, and its hash to the audit."""
    _require_scipy()
    from linewatch.capability import study as studies
    from linewatch.capability.certificate import digest, render
    from linewatch.runtime.user import user_name
    from linewatch.storage.audit.writing import append_audit

    done = studies.load(study)
    page = render(done)
    write_text(html, page, "--html")
    facts = {
        "product": done.product,
        "parts": len(done.parts),
        "passes": done.passes,
        "sha256": digest(done),
        "page_sha256": hashlib.sha256(page.encode()).hexdigest(),  # By which the page /study knows it again.
    }
    append_audit(load_settings(config).journal.path, user_name(), "study_reported", facts)
    typer.echo(f"{html}: SHA-256 {digest(done)}, in the audit")


@msa_app.command("verify")
def verify(
    page: Annotated[Path, typer.Argument(metavar="FILE.html", help="Written by linewatch msa report.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the study.")] = False,
) -> None:
    """Check that a result is as it was written. Compare the hash with the station's audit."""
    _require_scipy()
    from linewatch.capability import certificate
    from linewatch.capability.study import document

    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(page)!r} cannot be read: {error}") from error
    study = certificate.verify(text)
    if as_json:
        typer.echo(json.dumps(document(study), indent=1))
    else:
        typer.echo(f"{page} is as it was written; SHA-256 {certificate.digest(study)}")


def _limits(miss: float | None, alarm: float | None) -> "Limits | None":
    """Return the rates to prove; a study has both or none. Raises UsageError."""
    from linewatch.capability.study import Limits

    if miss is None and alarm is None:
        return None
    if miss is None or alarm is None:
        raise UsageError("--miss-below and --false-alarm-below belong together; give both, or none")
    return Limits(miss, alarm)


def _wait_for_verdict(reader: "JournalReader", study: "Study", after: "Place") -> "Verdict":
    """Return the first verdict on the part asked for that is journaled after a place."""
    from linewatch.capability.walk import look

    while True:
        time.sleep(POLL_S)
        seen = look(reader, study, after)
        if seen.verdict is not None:
            return seen.verdict
        after = seen.until


def _require_scipy() -> None:
    if importlib.util.find_spec("scipy") is None:
        raise missing_extra("study", "this command")
