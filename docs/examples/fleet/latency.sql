-- Capture to verdict by station: quantiles in milliseconds, late parts. Counted by millisecond first, so that
-- the quantiles are exact and need no sorting of all parts.
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

WITH counted AS (
  SELECT station, latency_ms, count(*) AS parts, count(*) FILTER (late OR reason = 30) AS late
  FROM verdicts
  WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day')
  GROUP BY ALL
), ranked AS (
  SELECT *, sum(parts) OVER (PARTITION BY station ORDER BY latency_ms) AS up_to,
    sum(parts) OVER (PARTITION BY station) AS whole
  FROM counted
)
SELECT station, sum(parts)::BIGINT AS parts, min(latency_ms) FILTER (up_to >= 0.50 * whole) AS p50,
  min(latency_ms) FILTER (up_to >= 0.95 * whole) AS p95, min(latency_ms) FILTER (up_to >= 0.99 * whole) AS p99,
  max(latency_ms) AS longest, sum(late)::BIGINT AS late, round(1e6 * sum(late) / sum(parts), 1) AS late_per_million
FROM ranked
GROUP BY station
ORDER BY p95 DESC, station;
