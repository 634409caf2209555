-- Run first, in the folder that the stations ship to: duckdb -init views.sql
-- Writes nothing; the views read the files each time. union_by_name: stations may have different releases.
CREATE OR REPLACE TEMP VIEW verdicts AS
  SELECT * FROM read_parquet('station=*/day=*/verdicts.parquet',
    hive_types = {station: VARCHAR, day: DATE}, union_by_name = true);
CREATE OR REPLACE TEMP VIEW reviews AS
  SELECT * FROM read_parquet('station=*/day=*/reviews.parquet',
    hive_types = {station: VARCHAR, day: DATE}, union_by_name = true);
CREATE OR REPLACE TEMP VIEW states AS
  SELECT * FROM read_parquet('station=*/day=*/states.parquet',
    hive_types = {station: VARCHAR, day: DATE}, union_by_name = true);
CREATE OR REPLACE TEMP VIEW audits AS
  SELECT * FROM read_parquet('station=*/day=*/audit.parquet',
    hive_types = {station: VARCHAR, day: DATE}, union_by_name = true);
-- 95 % Wilson interval of a rate of k in n.
CREATE OR REPLACE TEMP MACRO wilson_low(k, n) AS
  (k + 1.9207 - 1.95996 * sqrt(k * (n - k) / n + 0.9604)) / (n + 3.8415);
CREATE OR REPLACE TEMP MACRO wilson_high(k, n) AS
  (k + 1.9207 + 1.95996 * sqrt(k * (n - k) / n + 0.9604)) / (n + 3.8415);
