-- Which stations shipped no day? A day that is missing between others: the station was off. Missing to the
-- end: ask why (timer, share, station).
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

-- From the names of the files alone.
WITH shipped AS (
  SELECT DISTINCT regexp_extract(file, 'station=([^/]+)', 1) AS station,
    CAST(regexp_extract(file, 'day=([0-9-]+)', 1) AS DATE) AS day
  FROM glob('station=*/day=*/verdicts.parquet')
), expected AS (
  SELECT station, CAST(day AS DATE) AS day
  FROM (SELECT DISTINCT station FROM shipped),
    generate_series(getvariable('first_day')::TIMESTAMP, getvariable('last_day')::TIMESTAMP, INTERVAL 1 DAY) AS days(day)
)
SELECT station, count(*) AS missing_days, min(day) AS first_missing, max(day) AS last_missing,
  (SELECT max(day) FROM shipped WHERE shipped.station = expected.station) AS last_shipped
FROM expected ANTI JOIN shipped USING (station, day)
GROUP BY station
ORDER BY last_shipped, station;
