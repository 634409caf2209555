-- Where was this part judged, and how? By its id or what the id begins with, at all stations.
SET VARIABLE part = 'S17000012345';
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

SELECT station, captured, part, boot, seq, product, result, reason, model, image
FROM verdicts
WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day')
  AND starts_with(part, getvariable('part'))
ORDER BY captured;
