"""The result of a study as one HTML file that holds its own data and hash, and can be verified."""

import hashlib
import json
import re

import jinja2

from linewatch.capability.figures import Figures, measure
from linewatch.capability.intervals import Estimate
from linewatch.capability.study import DATA_MARK, Study, StudyError, document, from_document

_DATA = re.compile(re.escape(DATA_MARK) + r"(.*?)</script>", re.DOTALL)


def render(study: Study) -> str:
    """Return the page of a complete study. Raises StudyError.

    The same study is the same page: verifying it is drawing it again from the data in it.
    """
    figures = measure(study)
    data = json.dumps(document(study)).replace("<", "\\u003c")
    rows = [
        (
            known.part,
            known.truth,
            [one for one in study.judged if one.part == known.part],
            any(one.rejected == (known.truth == "good") for one in study.judged if one.part == known.part),
        )
        for known in study.parts
    ]
    return _PAGE.render(
        study=study,
        figures=figures,
        table=_table(figures),
        rows=rows,
        data=data,
        digest=digest(study),
        percent=_percent,
        against=_against(study, figures),
    )


def digest(study: Study) -> str:
    """Return the SHA-256 of a study's data, which the audit keeps."""
    return hashlib.sha256(json.dumps(document(study), sort_keys=True).encode()).hexdigest()


def verify(page: str) -> Study:
    """Return the study of a page whose every character is as it was written. Raises StudyError."""
    found = _DATA.search(page)
    try:
        study = from_document(json.loads(found[1])) if found else None
    except ValueError:
        study = None
    if study is None or render(study) != page:
        raise StudyError("the page was changed, or written by another linewatch; do not rely on it")
    return study


def _table(figures: Figures) -> list[tuple[str, str, str, str]]:
    """Return name, value, interval and meaning of each figure."""

    def row(name: str, found: Estimate, meaning: str, *, share: bool = True) -> tuple[str, str, str, str]:
        show = _percent if share else "{:.3f}".format
        return name, show(found.value), f"{show(found.low)} to {show(found.high)}", meaning

    return [
        row("Miss rate", figures.miss_rate, f"of {figures.defective} defective parts, per pass"),
        row("False alarm rate", figures.false_alarm_rate, f"of {figures.good} good parts, per pass"),
        row("Repeatability", figures.repeatability, "parts judged the same in every pass"),
        row("Agreement with the truth", figures.kappa_truth, "Cohen's kappa", share=False),
        row("Agreement between passes", figures.kappa_passes, "Fleiss' kappa", share=False),
    ]


def _against(study: Study, figures: Figures) -> list[tuple[str, str, str]]:
    """Return name, limit and proven bound of each rate that was to be proven."""
    limits = study.limits
    if limits is None:
        return []
    rates = (
        ("Miss rate", limits.miss_rate, figures.miss_rate_bounds),
        ("False alarm rate", limits.false_alarm_rate, figures.false_alarm_rate_bounds),
    )
    return [
        (name, f"below {_percent(limit)}", f"above {_percent(low)}, below {_percent(high)}")
        for name, limit, (low, high) in rates
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(
    """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ study.product }}: capability study</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#1a1a1a}
table{border-collapse:collapse;margin:1em 0;width:100%}th,td{padding:.3em .8em;text-align:left;
border-bottom:1px solid #ccc;overflow-wrap:anywhere}.wrong{background:#fbe3e0}.lead{font-size:1.2em}
code{overflow-wrap:anywhere}@media print{body{margin:0}}</style>
<h1>Capability study: {{ study.product }}</h1>
<p class="lead">{{ study.parts|length }} known parts, {{ study.passes }} passes:
{{ percent(figures.miss_rate.value) }} of the judgements of defective parts were a PASS,
{{ percent(figures.false_alarm_rate.value) }} of those of good parts a reject. With 95 % confidence fewer than
{{ percent(figures.miss_rate_proven) }} of such defective parts are ever missed in so many passes.</p>
{% if figures.outcome %}
<h2>Verdict: {{ figures.outcome }}</h2>
<table><tr><th>Rate<th>To be proven, chosen before the study<th>Proven, each bound with 95 % confidence
{% for name, limit, proven in against %}
<tr><td>{{ name }}<td>{{ limit }}<td>{{ proven }}
{% endfor %}
</table>
<p>Capable: both rates are proven to be below their limit. Not capable: one is proven to be above it.
Not proven: neither; a study of more parts can tell.
Each bound is one-sided; the intervals below have two sides and reach a little further.</p>
{% endif %}
<table><tr><th>Figure<th>Measured<th>95 % interval<th>Of
{% for name, value, interval, meaning in table %}
<tr><td>{{ name }}<td>{{ value }}<td>{{ interval }}<td>{{ meaning }}
{% endfor %}
</table>
<h2>Station</h2>
<table>
<tr><td>people<td>{{ study.people|join(", ") }}
{% for name, value in study.facts.items() %}
<tr><td>{{ name }}<td>{{ value }}
{% endfor %}
<tr><td>verdicts not judged (ERROR), presented again<td>{{ study.not_judged }}
{% if study.reference %}
<tr><td>set of parts<td>{{ study.reference }}
{% endif %}
{% if study.skipped %}
<tr><td>parts put off to the end of their pass<td>{{ study.skipped }}
{% endif %}
{% if study.withdrawn %}
<tr><td>verdicts taken back, these parts presented again<td>
{%- for one in study.withdrawn %}
{{ one.part }} in pass {{ one.number + 1 }}: {{ one.result }} {{ one.score }}{{ "" if loop.last else ", " }}
{%- endfor %}

{% endif %}
</table>
<h2>Every part</h2>
<p>Coloured: judged wrongly at least once. PASS of a defective part is a miss; FAIL or UNSURE of a good one a
false alarm. The number is the score; 1000 is the threshold.</p>
<table><tr><th>Part<th>Truth{% for number in range(study.passes) %}<th>Pass {{ number + 1 }}{% endfor %}

{% for part, truth, judged, wrong in rows %}
<tr{% if wrong %} class="wrong"{% endif %}><td>{{ part }}<td>{{ truth }}
{%- for one in judged %}<td>{{ one.result }} {{ one.score }}{% endfor %}

{% endfor %}
</table>
<h2>Method</h2>
<p>The order of the parts was drawn for each pass. A part counts once in the intervals, with its share of
passes (Clopper and Pearson 1934): passes of one part are not independent. The intervals of kappa follow from
those of the rates (Bonferroni). They hold for parts like these, with this model, recipe, camera and light.
UNSURE counts as a reject, as on the line.</p>
<p>SHA-256 of the data: <code>{{ digest }}</code>. It stands in the station's audit. The page is verified by
<code>linewatch msa verify FILE</code>.</p>
<script type="application/json" id="study">{{ data|safe }}</script>
</html>
"""
)
