"""The data of the pages and the API, as values without a word of HTML.

Times are epoch seconds, durations seconds, sizes bytes, rates a second, ratios from 0 to 1.
None stands for what is not known: no data, which is not zero.
"""
