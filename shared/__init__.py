"""The contract between teacher and worker: what would corrupt data if one side changed it alone.

Exit statuses and the wording of wrong settings are here too, so that both programs say the same of the same mistake.
"""
