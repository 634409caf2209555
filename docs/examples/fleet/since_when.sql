-- Since when does this reason, or this region, reject more parts? Per station, the clearest first.
-- The hour is where the sum of rejects beyond the station's own mean is lowest (CUSUM); z tells how far the
-- rates before and since are apart, in standard deviations.
SET VARIABLE reason = 10;                 -- docs/plc.md
SET VARIABLE region = '%';                -- '%': any
SET VARIABLE product = '%';
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

WITH hourly AS (
  SELECT station, epoch_ms(captured) // 3600000 AS hour, count(*) AS parts,
    count(*) FILTER (reason = getvariable('reason')
      AND (getvariable('region') = '%' OR region LIKE getvariable('region'))) AS hits
  FROM verdicts
  WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day')
    AND (getvariable('product') = '%' OR product LIKE getvariable('product'))
  GROUP BY ALL
), summed AS (
  SELECT *, sum(hits) OVER up AS hits_before, sum(parts) OVER up AS parts_before,
    sum(hits) OVER (PARTITION BY station) AS all_hits, sum(parts) OVER (PARTITION BY station) AS all_parts
  FROM hourly
  WINDOW up AS (PARTITION BY station ORDER BY hour ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT station, make_timestamptz(hour * 3600000000) AS since, round(hits_before / parts_before, 5) AS rate_before,
  round((all_hits - hits_before) / (all_parts - parts_before), 5) AS rate_since,
  (all_hits - hits_before)::BIGINT AS rejects_since,
  round(((all_hits - hits_before) / (all_parts - parts_before) - hits_before / parts_before)
    / sqrt(all_hits / all_parts * (1 - all_hits / all_parts)
      * (1 / parts_before + 1 / (all_parts - parts_before))), 1) AS z
FROM summed
WHERE all_hits > 0 AND parts_before > 0
QUALIFY row_number() OVER (PARTITION BY station
  ORDER BY hits_before - all_hits * parts_before / all_parts, hour) = 1
ORDER BY z DESC, station;
