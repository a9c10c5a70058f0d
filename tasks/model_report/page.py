"""A report as a page of its own, for a mail or a folder: everything is inside, nothing runs, nothing is fetched."""

from html import escape

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d8dde2; --band: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0f1318; --ink: #e4e8ec; --soft: #9aa4ae; --line: #30363d; --band: #181d23; }
}
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 54rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h2 { margin: 2.4rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.3rem; }
h2:first-child { margin-top: 0; }
h2:first-child + p { font-size: 1.2rem; }
table { display: block; width: max-content; max-width: 100%; overflow-x: auto; border-collapse: collapse;
  font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { background: var(--band); font-weight: 600; }
img { display: block; width: 640px; max-width: 100%; height: auto; border-radius: 6px; }
em { color: var(--soft); font-size: .9rem; }
pre { padding: .8rem 1rem; overflow-x: auto; background: var(--band); border-radius: 6px; font-size: .85rem; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_EMBEDDED_PNG = "data:image/png;base64,"


def render_page(markdown: str, title: str) -> str:
    """The report as HTML; links and images that are not embedded PNGs stay the text they are written as."""
    from markdown_it import MarkdownIt

    class OnlyEmbedded(MarkdownIt):
        def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's name
            return url.startswith(_EMBEDDED_PNG)

    body = OnlyEmbedded("commonmark", {"html": False}).enable("table").render(markdown)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}</body>
</html>
"""
