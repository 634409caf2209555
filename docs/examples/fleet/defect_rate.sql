-- Defect rate by station, product and day, with its 95 % Wilson interval. Parts without a judgement (ERROR)
-- are counted apart.
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

SELECT station, product, day, parts, defects, round(defects / nullif(parts, 0), 5) AS rate,
  round(wilson_low(defects, nullif(parts, 0)), 5) AS low, round(wilson_high(defects, nullif(parts, 0)), 5) AS high, unsure, errors
FROM (
  SELECT station, product, day, count(*) FILTER (result <> 'ERROR') AS parts,
    count(*) FILTER (result = 'FAIL') AS defects, count(*) FILTER (result = 'UNSURE') AS unsure,
    count(*) FILTER (result = 'ERROR') AS errors
  FROM verdicts
  WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day')
  GROUP BY ALL
)
ORDER BY station, product, day;
