"""Google Cloud: the account, retries and errors of its clients, the lake in a bucket, and the warehouse in BigQuery."""
