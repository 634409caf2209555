-- How long was each station in each state, and in how much of the whole time could it give a PASS?
-- Hours that no state covers are hours in which nothing ran.
SET VARIABLE first_day = DATE '2026-11-01';
SET VARIABLE last_day = DATE '2026-11-30';

SELECT station, round(100 * (ready + degraded) / whole, 2) AS judging_percent, round(ready, 2) AS ready_h,
  round(degraded, 2) AS degraded_h, round(fault, 2) AS fault_h, round(paused, 2) AS paused_h,
  round(preparing, 2) AS preparing_h,
  round(whole - ready - degraded - fault - paused - preparing, 2) AS not_running_h, longest_fault
FROM (
  SELECT station, sum(if(state = 'READY', hours, 0)) AS ready, sum(if(state = 'DEGRADED', hours, 0)) AS degraded,
    sum(if(state = 'FAULT', hours, 0)) AS fault, sum(if(state = 'PAUSED', hours, 0)) AS paused,
    sum(if(state IN ('STARTING', 'SELFTEST', 'CHANGEOVER'), hours, 0)) AS preparing,
    max_by(reason, hours) FILTER (state = 'FAULT') AS longest_fault,
    24 * (1 + date_diff('day', getvariable('first_day'), getvariable('last_day'))) AS whole
  FROM (SELECT *, date_diff('millisecond', began, ended) / 3600000 AS hours FROM states)
  WHERE day BETWEEN getvariable('first_day') AND getvariable('last_day')
  GROUP BY station
)
ORDER BY judging_percent, station;
