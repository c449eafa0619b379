"""Local files: atomic writes, locks, OS errors, the data folder, and the lake in a folder."""
