"""The durable engine: the same worker over a log that survives processes and servers."""
