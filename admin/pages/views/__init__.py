"""The pages of the console, a module for each: its `PATH`, and `page`, which fills its template.

A new page is a new module here, which `admin.pages.site` finds, and a line of the menu in
`templates/base.html`.
"""
