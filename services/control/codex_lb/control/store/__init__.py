"""The database of control: the one place with SQL. Facts are durable here; what is soft lives in coordination."""
