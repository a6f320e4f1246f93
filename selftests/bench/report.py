# SPDX-License-Identifier: MIT
"""Tables for a terminal and the plot in the documentation, for selftests/bench/run."""

import math
from xml.sax.saxutils import escape


def table(head, rows, notes=()):
    """Print rows of strings: the first column to the left, the rest to the right."""
    width = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    for n, row in enumerate([head] + rows):
        cells = [row[0].ljust(width[0])] + [c.rjust(w) for c, w in zip(row[1:], width[1:])]
        print("  " + "  ".join(cells))
        if n == 0:
            print("  " + "  ".join("-" * w for w in width))
    for note in notes:
        print("  " + note)
    print(flush=True)


def number(x, digits=1, unit=1):
    return "-" if x is None else f"{x / unit:.{digits}f}"


def short(x, unit=1):
    """About three digits."""
    x = (x or 0) / unit
    return f"{x:.3g}" if x < 100 else f"{x:,.0f}"


def ratio(a, b):
    return "-" if not a or not b else f"{a / b:.2f}x"


# ------------------------------------------------------------------------- plot

# Of each heap: its mark as a path around 0, 0, and its colour on white and on black.
# Who cannot tell the colours apart has the forms.
PEERS = {
    "bdwgc": ("M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", "#0969b8", "#58b4ec"),
    "Go": ("M-4 -4h8v8h-8z", "#c44f00", "#f08a3c"),
    "malloc": ("M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z", "#00805c", "#35c79b"),
    "mimalloc": ("M0 -5.2l5.4 9.4h-10.8z", "#a8458c", "#e08cc8"),
}
LABEL = 218                     # where the axis begins; left of it are the labels
AXIS = 430                      # how long it is
WIDTH = LABEL + AXIS + 122      # right of it is what gcarena needed
ROW = 21
HEAD = 27
TOP = 106


class Plot:
    """What the parts found, a row each: a peer's figure over gcarena's, on a log axis."""

    def __init__(self):
        self.rows = []

    def section(self, title):
        self.rows.append((title, None, None))

    def row(self, label, figure, own, peers):
        """Add one: gcarena's number, as it is to be written, and those of the peers."""
        ratios = {p: x / own for p, x in peers.items() if p in PEERS and x and own}
        if ratios:
            self.rows.append((label, figure, ratios))

    def svg(self, subtitle):
        # a section that has no rows: what it is of could not be run
        self.rows = [r for r, after in zip(self.rows, self.rows[1:] + [("", None, None)])
                     if r[2] or after[2]]
        every = [r for _, _, ratios in self.rows for r in (ratios or {}).values()]
        low = min([0.5] + every) / 1.15
        high = max([2] + every) * 1.15
        span = math.log(high / low)
        height = TOP + sum(ROW if r else HEAD for _, _, r in self.rows) + 34

        def x(value):
            return LABEL + AXIS * math.log(value / low) / span

        def text(at, y, cls, words, anchor="start"):
            out.append(f'<text x="{at:.1f}" y="{y:.1f}" class="{cls}" '
                       f'text-anchor="{anchor}">{escape(words)}</text>')

        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
               f'width="{WIDTH}" height="{height}" role="img">',
               '<!-- SPDX-License-Identifier: MIT; written by selftests/bench/run -->',
               '<title>gcarena against other heaps</title>', "<style>",
               "text { font: 12px sans-serif; fill: #1f2328 } .title { font-weight: bold; "
               "font-size: 15px } .head { font-weight: bold } .dim { fill: #59636e }",
               ".paper { fill: #ffffff } .line { stroke: #d8dee4 } .one { stroke: #1f2328; "
               "stroke-width: 1.5 }", ".mark { stroke: #ffffff; stroke-width: 0.8 }"]
        out += [f".{p} {{ fill: {light} }}" for p, (_, light, _) in PEERS.items()]
        out += ["@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } "
                ".dim { fill: #9da7b1 } .paper { fill: #0d1117 } .line { stroke: #30363d } "
                ".one { stroke: #e6edf3 } .mark { stroke: #0d1117 }"]
        out += [f".{p} {{ fill: {dark} }}" for p, (_, _, dark) in PEERS.items()]
        out += ["}", "</style>", f'<rect class="paper" width="{WIDTH}" height="{height}"/>']

        text(12, 24, "title", "Other heaps' figures over gcarena's")
        text(12, 43, "dim", subtitle)
        at = LABEL
        for peer, (path, _, _) in PEERS.items():
            out.append(f'<path class="mark {peer}" transform="translate({at} 64)" d="{path}"/>')
            text(at + 10, 68, "", peer)
            at += 34 + 7 * len(peer)
        text(x(1) - 8, TOP - 20, "dim", "\u2190 less than gcarena", "end")
        text(x(1) + 8, TOP - 20, "dim", "more than gcarena \u2192")
        text(WIDTH - 12, TOP - 20, "head", "gcarena", "end")

        middles, y = [], TOP
        for _, _, ratios in self.rows:
            step = ROW if ratios else HEAD
            middles.append(y + step / 2)
            y += step
            if ratios:
                out.append(f'<path class="line" d="M{LABEL} {middles[-1]:.1f}h{AXIS}"/>')
        for exponent in range(-6, 7):
            for digit in (1, 2, 5):
                tick = digit * 10.0 ** exponent
                # two and five only if there is room for them
                if not low <= tick <= high or (digit > 1 and span > math.log(300)):
                    continue
                cls = "one" if tick == 1 else "line"
                out.append(f'<path class="{cls}" d="M{x(tick):.1f} {TOP - 10}V{height - 28}"/>')
                text(x(tick), height - 12, "dim", f"{tick:g}", "middle")

        for middle, (label, figure, ratios) in zip(middles, self.rows):
            if ratios is None:
                text(12, middle + 4, "head", label)
                continue
            text(LABEL - 10, middle + 4, "", label, "end")
            text(WIDTH - 12, middle + 4, "", figure, "end")
            for peer, value in ratios.items():
                out.append(f'<path class="mark {peer}" transform="translate({x(value):.1f} '
                           f'{middle:.1f})" d="{PEERS[peer][0]}">'
                           f'<title>{escape(label)}: {peer} {value:.2f}</title></path>')
        return "\n".join(out + ["</svg>", ""])

    def write(self, path, subtitle):
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.svg(subtitle))
