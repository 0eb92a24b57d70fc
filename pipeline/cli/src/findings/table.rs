//! Columns of text.

/// A cell: what is read, and the colour it is painted in, if any.
pub(crate) type Cell = (String, Option<&'static str>);

/// A cell in the colour of what is around it.
pub(crate) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), None)
}

/// Lines of cells under their heads; the last column is as wide as it is.
pub(crate) fn render(heads: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut widths: Vec<_> = heads.iter().map(|head| head.chars().count()).collect();
    for row in rows {
        for (width, (text, _)) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let heads: Vec<_> = heads.iter().map(|head| plain(*head)).collect();
    std::iter::once(&heads).chain(rows).map(|row| line(row, &widths)).collect()
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (at, ((text, colour), width)) in row.iter().zip(widths).enumerate() {
        line.push_str(&painted(text, *colour));
        if at + 1 < row.len() {
            line.extend(std::iter::repeat_n(' ', width - text.chars().count() + 2));
        }
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// The text in a colour of the terminal.
pub(super) fn painted(text: &str, colour: Option<&str>) -> String {
    colour.map_or_else(|| text.to_owned(), |colour| format!("\u{1b}[{colour}m{text}\u{1b}[0m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text_whatever_its_colour() {
        let rows = [vec![("high".to_owned(), Some("31")), plain("a")], vec![plain("information"), plain("")]];
        let text = render(&["LEVEL", "NAME"], &rows);
        assert_eq!(text, "LEVEL        NAME\n\u{1b}[31mhigh\u{1b}[0m         a\ninformation\n");
    }
}
