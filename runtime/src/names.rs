//! What someone who misspelt a name most likely meant.

/// The name among `candidates` that someone who wrote `name` most likely meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// What to say about a name that does not exist: the nearest that does, or all of them.
pub fn suggestion<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, candidates.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match candidates.into_iter().collect::<Vec<_>>() {
            names if names.is_empty() => "there are none".into(),
            names => format!("there is {}", names.join(", ")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn misspelt_names_are_recognised() {
        assert_eq!(suggestion("rendr", ["render", "mesh"]), "did you mean `render`?");
        assert_eq!(suggestion("xyz", ["render", "mesh"]), "there is render, mesh");
        assert_eq!(suggestion("xyz", []), "there are none");
    }
}
