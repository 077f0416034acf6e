//! Tables for people.

/// Columns under their heads, as wide as they need to be. Nothing where there are no
/// rows.
pub fn render<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut all = vec![heads.map(str::to_owned)];
    all.extend(rows);
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [["a/b".to_owned(), "x".to_owned()], ["a".to_owned(), String::new()]];
        assert_eq!(render(["KEY", "NODE"], rows.into_iter()), "KEY  NODE\na/b  x\na\n");
        assert_eq!(render(["KEY"], std::iter::empty()), "");
    }
}
