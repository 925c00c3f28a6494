"""A studio in the browser: the page, the HTTP API behind it, and the process that colours."""
