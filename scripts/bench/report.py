"""Tables and a plot of benchmark results."""
import statistics
from html import escape


def table(kind, seen, stored):
    """A Markdown table; ratios are relative to the median of the first job."""
    head = f"| {kind} | wall s (median, spread) | ratio | processor s | peak MB |"
    rows, base = [], None
    for name, runs in seen.items():
        walls = [run[0] for run in runs]
        wall, cpu = statistics.median(walls), statistics.median(run[1] for run in runs)
        base = base or wall
        row = f"| {name} | {wall:.2f} ({min(walls):.2f} to {max(walls):.2f}) | {wall / base:.2f} | {cpu:.1f} | {max(run[2] for run in runs)} |"
        rows.append(row + (f" {stored[name] / 1e6:.1f} |" if name in stored else " |" if stored else ""))
    head += " stored MB |" if stored else ""
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows]) + "\n"


def plot(results):
    """An SVG of the ratios, one bar per job, in the order of the tables."""
    bars = []
    for name, _, kind, seen, _ in results:
        medians = {work: statistics.median(run[0] for run in runs) for work, runs in seen.items()}
        base = next(iter(medians.values()))
        bars.append((f"{kind}, {name}", None, None))
        bars += [(work.replace("\\", ""), wall / base, wall) for work, wall in medians.items()]
    line, left, width = 18, 240, 760
    scale = (width - left - 120) / max(ratio for _, ratio, _ in bars if ratio)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {line * len(bars) + 20}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="#fff"/>']
    for at, (label, ratio, wall) in enumerate(bars):
        y = at * line + 20
        if ratio is None:
            out.append(f'<text x="8" y="{y}" font-weight="bold">{escape(label)}</text>')
            continue
        color = "#2b6cb0" if label.startswith("dbhaul") else "#a0aec0"
        out.append(f'<text x="{left - 8}" y="{y}" text-anchor="end">{escape(label)}</text>')
        out.append(f'<rect x="{left}" y="{y - 11}" width="{ratio * scale:.0f}" height="13" fill="{color}"/>')
        out.append(f'<text x="{left + ratio * scale + 6:.0f}" y="{y}">{wall:.1f} s, {ratio:.2f}x</text>')
    return "\n".join(out) + "\n</svg>\n"
