-- Who changed what passes? Versions, thresholds, area and mask that judge from a moment on, with the values
-- before; and every other act but starts and reviews.
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

WITH acts AS (
  SELECT *, CAST(facts ->> '$.recipe.threshold' AS DOUBLE) AS threshold,
    CAST(facts ->> '$.recipe.unsure_threshold' AS DOUBLE) AS unsure_threshold
  FROM audits
  WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day')
    AND action NOT IN ('started', 'part_reviewed')
)
SELECT station, acted, who, action, product, facts ->> '$.from' AS was, facts ->> '$.to' AS becomes,
  lag(threshold) OVER before AS threshold_before, threshold,
  lag(unsure_threshold) OVER before AS unsure_before, unsure_threshold, facts ->> '$.why' AS why, audit_row
FROM acts
WINDOW before AS (PARTITION BY station, product, action ORDER BY audit_row)
ORDER BY acted, station, audit_row;
