-- Why were parts rejected? By station, the most frequent first, with the region where a recipe has regions.
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

SELECT station, reason, CASE reason WHEN 10 THEN 'score above threshold' WHEN 11 THEN 'near the threshold'
    WHEN 20 THEN 'frame too old' WHEN 21 THEN 'frozen' WHEN 22 THEN 'dark, over-exposed or blurred'
    WHEN 23 THEN 'registration failed' WHEN 24 THEN 'wrong product' WHEN 30 THEN 'deadline missed'
    WHEN 31 THEN 'queue full' WHEN 40 THEN 'camera lost' WHEN 41 THEN 'model not ready'
    WHEN 42 THEN 'internal' END AS meaning,
  region, count(*) AS parts, round(100 * count(*) / sum(count(*)) OVER (PARTITION BY station), 1) AS percent,
  min(captured) AS first_part, max(captured) AS last_part
FROM verdicts
WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day') AND reason <> 0
GROUP BY station, reason, region
ORDER BY station, parts DESC;
