"""The journal as Parquet files by day, for questions over many stations."""
