"""What both programs must have alike: if one changed it alone, data would be corrupted, weights not load, money lost.

Exit statuses and the wording of errors are here too: both programs say the same of the same mistake.
"""
