"""Operations on months: planning, running in worker processes, backfills, deletion, adoption and diagnosis.

Not here: the definitions that runs execute (`defs`), and how results are displayed (`cli`).
"""
