#pragma once

namespace collector {

/// The style sheet of the page: light and dark, screen and paper. Every state
/// has a colour and a texture of its own.
inline constexpr char kStyle[] = R"css(
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2125;
--soft:#56606b;--line:#dfe3e8;--accent:#1f5fbf;--good:#1b7742;--goodbg:#e3f4e9;
--bad:#b3261e;--badbg:#fce8e6;--wait:#7a5600;--waitbg:#fdf1d3;--odd:#5b4a9e;
--oddbg:#ece8fb;--pinned:#c2410c;--floating:#3b82c4;--never:#6d3fb0;
--flight:#2a8a5b;--sample:#7b8794;--fit:#b3261e;--band:#b3261e22}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;
--ink:#e8eaed;--soft:#a5afba;--line:#343b42;--accent:#8ab4f8;--good:#7fd6a0;
--goodbg:#173524;--bad:#f5a79f;--badbg:#43211e;--wait:#f1cf7a;--waitbg:#3c3115;
--odd:#c3b5f5;--oddbg:#2c2548;--pinned:#ef8a54;--floating:#6aa9e3;
--never:#b491ec;--flight:#5fc08f;--sample:#8b97a3;--fit:#f5a79f;
--band:#f5a79f26}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.55 system-ui,"Segoe UI","DejaVu Sans",sans-serif}
main,header,footer{max-width:1080px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px}
h2{font-size:1.35rem;margin:44px 0 14px;padding-top:14px;
border-top:1px solid var(--line)}
h3{font-size:1.06rem;margin:26px 0 8px}
p{margin:8px 0;max-width:76ch}
a{color:var(--accent)}
nav{margin:14px 0 0}nav a{margin-right:18px;white-space:nowrap}
.soft,figcaption,caption{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:16px 20px;margin:14px 0}
.card h3{margin-top:0}
.badge{display:inline-block;border-radius:999px;padding:1px 11px;
font-size:.86rem;font-weight:600;white-space:nowrap}
.good{color:var(--good);background:var(--goodbg)}
.bad{color:var(--bad);background:var(--badbg)}
.wait{color:var(--wait);background:var(--waitbg)}
.odd{color:var(--odd);background:var(--oddbg)}
.answer{border-left:4px solid var(--accent);padding:2px 0 2px 14px;margin:12px 0}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;
margin:10px 0}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0}
.scroll{overflow-x:auto;margin:10px 0}
table{border-collapse:collapse;width:100%;font-size:.89rem;
font-variant-numeric:tabular-nums}
caption{text-align:left;padding:4px 0;font-size:.89rem}
th,td{text-align:left;vertical-align:top;padding:5px 12px 5px 0;
border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft)}
th.n,td.n{text-align:right;white-space:nowrap}
code,.sig{font:.86rem/1.45 ui-monospace,"DejaVu Sans Mono",monospace;
overflow-wrap:anywhere}
.whole{white-space:nowrap}
.site{display:block;color:var(--soft);font-size:.82rem}
figure{margin:16px 0}figcaption{font-size:.89rem;margin-top:4px}
svg{display:block;width:100%;height:auto;background:var(--card);
border:1px solid var(--line);border-radius:10px}
svg text{fill:var(--ink);font:12px system-ui,"DejaVu Sans",sans-serif}
svg .tick,svg .label{fill:var(--soft)}
.end{text-anchor:end}.middle{text-anchor:middle}
.grid{stroke:var(--line);fill:none}.axis{stroke:var(--soft);fill:none}
.sample{fill:none;stroke:var(--sample);stroke-width:1.3}
.sampledot{fill:var(--sample)}
.block{fill:var(--card);stroke:var(--ink);stroke-width:2}
.fit{fill:none;stroke:var(--fit);stroke-width:2.2}
.band{fill:var(--band);stroke:none}
.kfit{fill:var(--fit)}
.pinned{fill:var(--pinned)}.floating{fill:url(#hatch)}
.never{fill:url(#dense)}.flight{fill:url(#dots)}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent)}
footer{margin-top:44px;padding-top:16px;padding-bottom:44px;color:var(--soft);
font-size:.89rem;border-top:1px solid var(--line)}
@media print{details{display:block}.scroll{overflow:visible}
body{background:#fff}h2{break-after:avoid}figure,tr{break-inside:avoid}}
)css";

/// Textures of the states, once per page.
inline constexpr char kPatterns[] =
    R"svg(<svg width="0" height="0" style="position:absolute;border:0" aria-hidden="true"><defs>
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" style="fill:var(--floating)"/><path d="M0 0V6" style="stroke:var(--card);stroke-width:2;stroke-opacity:.45"/></pattern>
<pattern id="dense" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><rect width="5" height="5" style="fill:var(--never)"/><path d="M0 0V5" style="stroke:var(--card);stroke-width:1.4;stroke-opacity:.4"/></pattern>
<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" style="fill:var(--flight)"/><circle cx="3" cy="3" r="1.2" style="fill:var(--card);fill-opacity:.6"/></pattern>
</defs></svg>
)svg";

}  // namespace collector
