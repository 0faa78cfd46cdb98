//! Path templates such as `/users/{id}`: routes for where Envoy has only one.

/// Templates, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates(Vec<String>);

/// Templates of one list, at most: each request that fits none is held against all.
const TEMPLATES_MAX: usize = 100;

impl Templates {
    /// Reads templates: absolute paths in which a segment `{name}` stands for any one that is not empty, and a last segment `**`
    /// for any rest, an empty one too.
    ///
    /// # Errors
    /// The first one that is none, or an empty text where there are too many.
    pub fn parse(texts: Vec<String>) -> Result<Self, String> {
        let good = |text: &String| {
            let mut segments = text.strip_prefix('/').unwrap_or("*").split('/').rev();
            let last = segments.next().unwrap_or_default();
            let plain = |s: &str| !s.contains(['{', '}', '*', '?']) || is_variable(s) && s.len() > 2;
            (last == "**" || plain(last)) && segments.all(plain)
        };
        match texts.iter().find(|text| !good(text)) {
            Some(bad) => Err(bad.clone()),
            None if texts.len() > TEMPLATES_MAX => Err(String::new()),
            None => Ok(Templates(texts)),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first template that a request's path fits, its query set aside.
    pub fn fit(&self, path: &[u8]) -> Option<&[u8]> {
        let path = without_query(path);
        self.0.iter().map(String::as_bytes).find(|template| fits(template, path))
    }
}

fn is_variable(segment: &str) -> bool {
    segment.starts_with('{')
        && segment.ends_with('}')
        && !segment.get(1..segment.len() - 1).is_none_or(|name| name.contains(['{', '}', '*', '?']))
}

fn fits(template: &[u8], path: &[u8]) -> bool {
    let slash = |b: &u8| *b == b'/';
    let mut segments = path.split(slash);
    for want in template.split(slash) {
        if want == b"**" {
            return true;
        }
        match segments.next() {
            Some(segment) if want.first() == Some(&b'{') => {
                if segment.is_empty() {
                    return false;
                }
            }
            Some(segment) if segment == want => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// A path without its query.
pub(super) fn without_query(path: &[u8]) -> &[u8] {
    path.split(|b| *b == b'?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_the_first_template_that_has_their_form() {
        let texts =
            ["/users/me", "/users/{id}", "/users/{id}/orders/{order}", "/shop.v1.Shop/{method}", "/static/**", "/"];
        let templates = Templates::parse(texts.map(str::to_owned).into()).unwrap();
        let cases = [
            ("/users/me", Some("/users/me")),
            ("/users/17", Some("/users/{id}")),
            ("/users/17?page=2&path=/a/b", Some("/users/{id}")),
            ("/users/", None),
            ("/users", None),
            ("/users/17/", None),
            ("/users/17/orders/4", Some("/users/{id}/orders/{order}")),
            ("/users/17/orders/4/lines", None),
            ("/shop.v1.Shop/Get", Some("/shop.v1.Shop/{method}")),
            ("/static/", Some("/static/**")),
            ("/static/css/site.css", Some("/static/**")),
            ("/static", Some("/static/**")),
            ("/", Some("/")),
            ("", None),
            ("*", None),
        ];
        for (path, want) in cases {
            let got = templates.fit(path.as_bytes()).map(|t| std::str::from_utf8(t).unwrap());
            assert_eq!(got, want, "{path}");
        }
    }

    #[test]
    fn what_is_no_template_is_named() {
        for bad in ["users", "", "/users/{id", "/users/x{id}", "/users/{}", "/**/x", "/a*", "/a?b", "/{a}{b}", "/{{a}}"]
        {
            assert_eq!(Templates::parse(vec!["/".to_owned(), bad.to_owned()]), Err(bad.to_owned()));
        }
        assert!(Templates::parse(vec!["/a".to_owned(); TEMPLATES_MAX]).is_ok());
        assert_eq!(Templates::parse(vec!["/a".to_owned(); TEMPLATES_MAX + 1]), Err(String::new()));
    }
}
