-- Which model judged where, from when to when, and what did it decide?
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

SELECT product, model, station, min(captured) AS first_part, max(captured) AS last_part, count(*) AS parts,
  round(count(*) FILTER (result = 'FAIL') / count(*), 5) AS fail_rate, min(threshold) AS threshold_min,
  max(threshold) AS threshold_max
FROM verdicts
WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day') AND model <> ''
GROUP BY product, model, station
ORDER BY product, first_part, station;
