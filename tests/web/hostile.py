"""What anybody who may write a schedule may put into it, to break a page."""

from __future__ import annotations

HOSTILE = [
    "<script>document.title='pwned'</script>",
    "</title><script>document.title='pwned'</script>",
    "</style></script><svg onload=document.title='pwned'>",
    "\"><img src=x onerror=document.title='pwned'>",
    "' onmouseover='document.title=1' x='",
    "javascript:document.title='pwned'",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#x3c;script&#x3e;",
    "a\u202egpj.exe\u2066\u200b\u2028\u2029",
    "\x00\x07\x1b[2J\x7f\x9b31m\r\n",
    "../../etc/passwd?x=1#y%00%2e",
    "מבחן اختبار 试验 🦊",
    "M" * 3_000,
    "W\u0300" * 900,
    "a b " * 500,
    "<!--",
    "]]>",
    "\ufeff\ufffe",
    ".",
    "..",
]
MARK = "pwned"
