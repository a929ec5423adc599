//! A page as HTML for mail programs: tables and inline styles, nothing to fetch, no script, readable without styles.

use super::{Page, Tone, text};

const FONT: &str = "font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,'Noto Sans','Noto Sans CJK JP',Helvetica,Arial,sans-serif";
const MONO: &str =
    "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Noto Sans Mono CJK JP',monospace";

/// Strong colour, its background, its word in dark on it.
fn colours(tone: Tone) -> (&'static str, &'static str, &'static str) {
    match tone {
        Tone::Bad => ("#c62828", "#fdecea", "#8e1b1b"),
        Tone::Warning => ("#b26a00", "#fff4e0", "#7a4900"),
        Tone::Good => ("#2e7d32", "#e8f5e9", "#1b5e20"),
        Tone::Plain => ("#455a64", "#eceff1", "#37474f"),
    }
}

pub(super) fn render(page: &Page) -> String {
    let (strong, pale, dark) = colours(page.tone);
    let mut body = String::with_capacity(8 * 1024);
    body.push_str(&format!(
        "<tr><td style=\"background:{pale};border-left:6px solid {strong};padding:14px 16px;{FONT};font-size:17px;line-height:1.3;\
         font-weight:700;color:{dark}\">{} {}</td></tr>\n",
        text::glyph(page.tone),
        escape(&page.lead)
    ));
    body.push_str(&format!(
        "<tr><td style=\"padding:16px 16px 4px;{FONT};font-size:20px;line-height:1.3;font-weight:600;color:#15181c;word-break:break-word\">{}</td></tr>\n",
        escape(&page.heading)
    ));
    if !page.summary.is_empty() {
        body.push_str(&format!(
            "<tr><td style=\"padding:0 16px 8px;{FONT};font-size:15px;line-height:1.45;color:#3c434b;word-break:break-word\">{}</td></tr>\n",
            escape(&page.summary)
        ));
    }
    facts(&mut body, page);
    groups(&mut body, page);
    log(&mut body, page);
    action(&mut body, page, strong);
    notes(&mut body, page);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light\"><title>{}</title></head>\n\
         <body style=\"margin:0;padding:0;background:#eef0f3\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" style=\"background:#eef0f3\"><tr><td align=\"center\" style=\"padding:8px\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" style=\"max-width:640px;background:#ffffff;border-radius:6px;overflow:hidden;text-align:left\">\n\
         {body}</table>\n</td></tr></table>\n</body></html>\n",
        escape(&page.subject)
    )
}

fn facts(body: &mut String, page: &Page) {
    if page.facts.is_empty() {
        return;
    }
    body.push_str("<tr><td style=\"padding:4px 16px 8px\"><table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\">\n");
    for fact in &page.facts {
        let font = if fact.is_id { MONO } else { FONT };
        let size = if fact.is_id { "13px" } else { "14px" };
        let value = fact.value.split('\n').map(escape).collect::<Vec<_>>().join("<br>");
        body.push_str(&format!(
            "<tr><td width=\"84\" valign=\"top\" style=\"padding:4px 10px 4px 0;{FONT};font-size:13px;line-height:1.45;color:#6a737d\">{}</td>\
             <td valign=\"top\" style=\"padding:4px 0;{font};font-size:{size};line-height:1.45;color:#15181c;word-break:break-word\">{value}</td></tr>\n",
            escape(fact.label)
        ));
    }
    body.push_str("</table></td></tr>\n");
}

fn groups(body: &mut String, page: &Page) {
    for group in &page.groups {
        body.push_str(&format!(
            "<tr><td style=\"padding:8px 16px 0;{FONT};font-size:14px;line-height:1.4;font-weight:600;color:#15181c;word-break:break-word\">{}</td></tr>\n\
             <tr><td style=\"padding:2px 16px 8px;{MONO};font-size:12px;line-height:1.5;color:#3c434b;word-break:break-word\">{}</td></tr>\n",
            escape(&group.heading),
            group.names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(", ")
        ));
    }
}

fn log(body: &mut String, page: &Page) {
    let Some(log) = &page.log else { return };
    body.push_str(&format!(
        "<tr><td style=\"padding:8px 16px 4px;{FONT};font-size:13px;color:#6a737d\">{}</td></tr>\n\
         <tr><td style=\"padding:0 16px 12px\"><pre style=\"margin:0;background:#1b1f24;border-radius:6px;padding:10px 12px;{MONO};font-size:12px;\
         line-height:1.5;color:#e6e9ed;white-space:pre-wrap;word-break:break-word\">",
        escape(&text::log_heading(log))
    ));
    body.push_str(&log.lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join("\n"));
    body.push_str("</pre></td></tr>\n");
}

fn action(body: &mut String, page: &Page, strong: &str) {
    let Some(action) = &page.action else { return };
    body.push_str(&format!(
        "<tr><td style=\"padding:4px 16px 4px;{FONT};font-size:14px;font-weight:600;color:#15181c\">{}</td></tr>\n\
         <tr><td style=\"padding:0 16px 16px\"><div style=\"background:#f6f8fa;border:1px solid #d0d7de;border-left:4px solid {strong};border-radius:6px;\
         padding:10px 12px;{MONO};font-size:13px;line-height:1.45;color:#15181c;overflow-wrap:anywhere\">{}</div></td></tr>\n",
        escape(&action.what),
        escape(&action.command)
    ));
}

fn notes(body: &mut String, page: &Page) {
    body.push_str(&format!(
        "<tr><td style=\"padding:10px 16px 14px;border-top:1px solid #e5e8eb;{FONT};font-size:12px;line-height:1.5;color:#6a737d;word-break:break-word\">"
    ));
    body.push_str(&page.notes.iter().map(|note| escape(note)).collect::<Vec<_>>().join("<br>"));
    body.push_str("</td></tr>\n");
}

/// For element content and quoted attributes alike.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
