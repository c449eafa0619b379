"""The source: where the files of each month are, and how they are fetched from a folder or a web server."""
