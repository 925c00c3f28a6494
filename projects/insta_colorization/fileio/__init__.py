"""Files: written whole, downloaded, journalled."""
