//! Seeds of pictures, as people list them.

use crate::options::{OptionError, Options};
use visage_compiler::system::Value;

/// More seeds than anybody means.
const MOST: u64 = 1_000_000;

/// Whole numbers that an `f64` holds exactly end here.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// The option `seeds`: a number, a list of numbers, or a text such as `"0-19,33"`; in the order given.
///
/// # Errors
/// There are none, too many, or something else than whole numbers and ranges of them.
pub(super) fn seeds(options: &mut Options) -> Result<Option<Vec<u64>>, OptionError> {
    let Some(value) = options.take("seeds") else { return Ok(None) };
    let read = match &value {
        Value::List(list) => list.iter().try_fold(Vec::new(), added),
        value => added(Vec::new(), value),
    };
    match read {
        Ok(seeds) if seeds.is_empty() => Err(options.error("there are no `seeds`")),
        Ok(seeds) => Ok(Some(seeds)),
        Err(problem) => {
            Err(options.error(format!("`seeds` must be whole numbers and ranges such as \"0-19,33\": {problem}")))
        }
    }
}

/// The seeds with those of one value after them.
fn added(mut all: Vec<u64>, value: &Value) -> Result<Vec<u64>, String> {
    match value {
        Value::Number(number) if (0.0..LARGEST).contains(number) && number.fract() == 0.0 => all.push(*number as u64),
        Value::Number(number) => return Err(format!("{number} is none")),
        Value::Text(text) => {
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let number = |text: &str| {
                    let number = text.trim().parse::<u64>().ok().filter(|number| *number < LARGEST as u64);
                    number.ok_or_else(|| format!("`{part}` is neither"))
                };
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return Err(format!("`{part}` ends before it begins"));
                }
                if last - first >= MOST {
                    return Err(format!("`{part}` is more than {MOST} of them"));
                }
                all.extend(first..=last);
            }
        }
        _ => return Err("there is something else in it".into()),
    }
    if all.len() as u64 > MOST {
        return Err(format!("there are more than {MOST} of them"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::seeds;
    use crate::options::{Options, parse_value};
    use std::collections::BTreeMap;
    use visage_compiler::system::{Call, Value};

    fn read(value: Value) -> Result<Option<Vec<u64>>, String> {
        let call = Call { kind: "Generate".into(), options: BTreeMap::from([("seeds".into(), value)]) };
        seeds(&mut Options::new(&call, &BTreeMap::new())).map_err(|error| error.to_string())
    }

    #[test]
    fn seeds_are_listed_in_many_ways() {
        let numbers = |text: &str| read(parse_value(text)).unwrap().unwrap();
        assert_eq!(numbers("3"), [3]);
        assert_eq!(numbers("3,1,2"), [3, 1, 2]);
        assert_eq!(numbers("0-2, 33,7-7"), [0, 1, 2, 33, 7]);
        let list = [Value::Number(4.0), Value::Text("8-9".into())];
        assert_eq!(read(Value::List(list.into())), Ok(Some(vec![4, 8, 9])));
        assert_eq!(numbers("9007199254740991"), [9_007_199_254_740_991]);
    }

    #[test]
    fn what_is_no_seed_is_told() {
        let wrong = |text: &str| read(parse_value(text)).unwrap_err();
        let begin = "Generate: `seeds` must be whole numbers and ranges such as \"0-19,33\": ";
        assert_eq!(wrong("5-2"), format!("{begin}`5-2` ends before it begins"));
        assert_eq!(wrong("1,x"), format!("{begin}`x` is neither"));
        assert_eq!(wrong("-3"), format!("{begin}-3 is none"));
        assert_eq!(wrong("1.5"), format!("{begin}1.5 is none"));
        assert_eq!(wrong("0-99999999999"), format!("{begin}`0-99999999999` is more than 1000000 of them"));
        assert_eq!(wrong("0-999999,0-5"), format!("{begin}there are more than 1000000 of them"));
        assert_eq!(wrong("9007199254740993"), format!("{begin}9007199254740992 is none"));
        assert_eq!(wrong(""), "Generate: there are no `seeds`");
        assert_eq!(read(Value::Bool(true)).unwrap_err(), format!("{begin}there is something else in it"));
    }
}
