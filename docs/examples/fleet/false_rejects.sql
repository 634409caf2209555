-- Of the parts that people reviewed: how many rejects were good, how many passed parts were defective?
-- 95 % Wilson intervals. Which parts were reviewed was people's choice, unless they were drawn by a rule.
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

SELECT station, product, rejects, false_rejects, round(false_rejects / nullif(rejects, 0), 4) AS false_reject_share,
  round(wilson_low(false_rejects, nullif(rejects, 0)), 4) AS low, round(wilson_high(false_rejects, nullif(rejects, 0)), 4) AS high,
  passed, escapes, round(escapes / nullif(passed, 0), 4) AS escape_share
FROM (
  SELECT v.station, v.product, count(*) FILTER (v.result IN ('FAIL', 'UNSURE')) AS rejects,
    count(*) FILTER (v.result IN ('FAIL', 'UNSURE') AND r.actual = 'good') AS false_rejects,
    count(*) FILTER (v.result = 'PASS') AS passed,
    count(*) FILTER (v.result = 'PASS' AND r.actual = 'defect') AS escapes
  FROM reviews r JOIN verdicts v USING (station, day, boot, seq)
  WHERE r.day BETWEEN getvariable('first_day') AND getvariable('last_day')
    AND v.day BETWEEN getvariable('first_day') AND getvariable('last_day')
  GROUP BY ALL
)
ORDER BY station, product;
