-- Which parts did a station judge between two times? Times with their zone.
SET VARIABLE station = 'station1';
SET VARIABLE since = TIMESTAMPTZ '2026-11-27 14:00:00+01:00';
SET VARIABLE until = TIMESTAMPTZ '2026-11-27 15:00:00+01:00';

SELECT v.captured, v.boot, v.seq, v.part, v.product, v.result, v.reason, v.region,
  round(v.raw / nullif(v.threshold, 0), 3) AS score, v.model, v.image, r.actual, r.who
FROM verdicts v LEFT JOIN reviews r USING (station, day, boot, seq)
WHERE v.station = getvariable('station')
  -- The day is that of the journal's row, which follows the exposure.
  AND v.day BETWEEN CAST(getvariable('since') AT TIME ZONE 'UTC' AS DATE)
    AND CAST(getvariable('until') AT TIME ZONE 'UTC' AS DATE) + 1
  AND v.captured >= getvariable('since') AND v.captured < getvariable('until')
ORDER BY v.captured, v.seq;
