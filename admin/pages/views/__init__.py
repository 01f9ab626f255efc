"""The pages of the console, a module for each: its `PATH`, and `page`, which fills its template.

A new page is a new module here; `admin.pages.site` imports it and lists it in `PAGES`.
"""
