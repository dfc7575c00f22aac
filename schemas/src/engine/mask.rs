//! Masks: what of a personal value may still be seen.
//!
//! No national rule fixes them; these are the common conventions (domain practice under GB/T 37964-2019, de-identification guide).
//! A value that has not the expected shape is hidden whole: a mask must never show more because a value is odd.

use super::record_type::words;
use crate::identifier::region_entries;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

words! {
    /// How a value is masked.
    Mask {
        /// The field has no mask; a grant cannot ask for one.
        #[default]
        None = "none",
        /// 姓名: the surname, and the last character from three on.
        Name = "name",
        /// 公民身份号码: first six and last four.
        ResidentId = "resident_id",
        /// 手机号: first three and last four.
        Mobile = "mobile",
        /// 固定电话: area code and last four.
        Landline = "landline",
        /// 地址: down to district or county.
        Address = "address",
        /// 银行卡: first six and last four.
        BankCard = "bank_card",
        /// 护照和通行证: first two and last three.
        Passport = "passport",
        /// 电子邮箱: first character and domain.
        Email = "email",
    }
}

/// Surnames of two characters that are still common.
const COMPOUND_SURNAMES: [&str; 20] = [
    "欧阳", "司马", "上官", "诸葛", "司徒", "东方", "皇甫", "尉迟", "公孙", "慕容", "令狐", "夏侯", "宇文", "长孙",
    "端木", "百里", "东郭", "南宫", "呼延", "轩辕",
];

impl Mask {
    /// Appends the masked form of `value` to `out`.
    pub(crate) fn apply(self, value: &str, out: &mut String) {
        match self {
            Mask::Name => name(value, out),
            Mask::ResidentId => keep_of(15..=18, value, 6, 4, out),
            Mask::BankCard => keep_of(16..=19, value, 6, 4, out),
            Mask::Mobile => keep_of(11..=11, value, 3, 4, out),
            Mask::Landline => landline(value, out),
            Mask::Address => address(value, out),
            Mask::Passport => keep_of(8..=11, value, 2, 3, out),
            Mask::Email => email(value, out),
            Mask::None => hide(value, out),
        }
    }
}

fn hide(value: &str, out: &mut String) {
    out.extend(value.chars().map(|_| '*'));
}

/// Keeps `first` and `last` characters of a value that has the length of its kind; of a shorter one they would be nearly all.
fn keep_of(lengths: RangeInclusive<usize>, value: &str, first: usize, last: usize, out: &mut String) {
    if lengths.contains(&value.chars().count()) { keep(value, first, last, out) } else { hide(value, out) }
}

/// Keeps `first` and `last` characters; a value that has no more than these is hidden whole.
fn keep(value: &str, first: usize, last: usize, out: &mut String) {
    let count = value.chars().count();
    if count <= first + last {
        return hide(value, out);
    }
    out.extend(value.chars().enumerate().map(
        |(index, c)| {
            if index < first || index >= count - last { c } else { '*' }
        },
    ));
}

fn name(value: &str, out: &mut String) {
    // A name of several segments (·): the first character, and where the segments end.
    if value.contains('·') {
        out.extend(value.chars().enumerate().map(|(index, c)| if index == 0 || c == '·' { c } else { '*' }));
        return;
    }
    let surname = if COMPOUND_SURNAMES.iter().any(|surname| value.starts_with(surname)) { 2 } else { 1 };
    match value.chars().count() {
        0 | 1 => hide(value, out),
        count if count <= surname + 1 => out.extend(
            value.chars().enumerate().map(|(index, c)| if index < surname && index + 1 < count { c } else { '*' }),
        ),
        _ => keep(value, surname, 1, out),
    }
}

fn landline(value: &str, out: &mut String) {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    if digits != value.chars().filter(|c| *c != '-').count() {
        return hide(value, out);
    }
    let area = match value.as_bytes() {
        [b'0', b'1' | b'2', ..] => 3,
        [b'0', ..] => 4,
        _ => 0,
    };
    let last = if digits >= area + 7 { 4 } else { 2 };
    if digits <= area + last {
        return hide(value, out);
    }
    let mut seen = 0;
    for c in value.chars() {
        let kept = c == '-' || seen < area || seen >= digits - last;
        seen += usize::from(c != '-');
        out.push(if kept { c } else { '*' });
    }
}

/// The names of all divisions of GB/T 2260, of today and before, and how many characters the longest has.
static DIVISIONS: LazyLock<(HashSet<&'static str>, usize)> = LazyLock::new(|| {
    // One character alone (县) is no name.
    let names = region_entries().iter().map(|entry| &*entry.zh).filter(|name| name.chars().nth(1).is_some());
    let names: HashSet<_> = names.collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    (names, longest)
});

/// Province, prefecture and county.
const DIVISION_LEVELS: usize = 3;

/// Keeps the names of divisions with which an address begins, down to its county or district. Names, and not what looks like the end of one: of
/// 人民路8号3区, 阳光小区 and 菜市场 nothing is anybody's business.
fn address(value: &str, out: &mut String) {
    let (names, longest) = &*DIVISIONS;
    let mut rest = value;
    for _ in 0..DIVISION_LEVELS {
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take(*longest);
        let names = ends.filter_map(|end| rest.split_at_checked(end)).filter(|(name, _)| names.contains(*name));
        let Some((name, behind)) = names.last() else { break };
        out.push_str(name);
        rest = behind;
    }
    out.push_str("****");
}

fn email(value: &str, out: &mut String) {
    match (value.chars().next(), value.rsplit_once('@')) {
        (Some(first), Some((local, domain))) if !local.is_empty() => {
            out.push(first);
            out.push_str("***@");
            out.push_str(domain);
        }
        _ => hide(value, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: Mask, value: &str) -> String {
        let mut out = String::new();
        mask.apply(value, &mut out);
        out
    }

    #[test]
    fn names_keep_the_surname_and_from_three_on_the_last_character() {
        for (value, shown) in [
            ("张三", "张*"),
            ("张小明", "张*明"),
            ("欧阳锋", "欧阳*"),
            ("欧阳修文", "欧阳*文"),
            ("王", "*"),
            ("", ""),
            ("买买提·艾力", "买**·**"),
            ("张三李四", "张**四"),
            ("欧阳", "欧*"),
            ("𠮷田茂", "𠮷*茂"),
        ] {
            assert_eq!(masked(Mask::Name, value), shown, "{value}");
        }
    }

    #[test]
    fn numbers_keep_their_ends() {
        assert_eq!(masked(Mask::ResidentId, "330106199003070022"), "330106********0022");
        assert_eq!(masked(Mask::ResidentId, "330106900307002"), "330106*****7002");
        assert_eq!(masked(Mask::Mobile, "13800138000"), "138****8000");
        assert_eq!(masked(Mask::BankCard, "6222021234567890123"), "622202*********0123");
        assert_eq!(masked(Mask::Passport, "E12345678"), "E1****678");
        assert_eq!(masked(Mask::Landline, "0513-85123456"), "0513-****3456");
        assert_eq!(masked(Mask::Landline, "010-6512345"), "010-***2345");
        assert_eq!(masked(Mask::Landline, "01085123456"), "010****3456");
        assert_eq!(masked(Mask::Landline, "85123456"), "****3456");
    }

    #[test]
    fn addresses_end_at_the_district() {
        assert_eq!(masked(Mask::Address, "江苏省南通市崇川区人民中路1号"), "江苏省南通市崇川区****");
        assert_eq!(masked(Mask::Address, "江苏省南通市启东市汇龙镇阳光小区3幢"), "江苏省南通市启东市****");
        assert_eq!(masked(Mask::Address, "启东市汇龙镇"), "启东市****");
        assert_eq!(masked(Mask::Address, "河北省唐山市路南区新华道1号"), "河北省唐山市路南区****");
        // A county that has become a district stays a place.
        assert_eq!(masked(Mask::Address, "江苏省南通市通州市金沙镇"), "江苏省南通市通州市****");
        assert_eq!(masked(Mask::Address, "内蒙古自治区呼和浩特市新城区海拉尔大街"), "内蒙古自治区呼和浩特市新城区****");
        assert_eq!(masked(Mask::Address, "人民中路1号"), "****");
        assert_eq!(masked(Mask::Address, ""), "****");
    }

    #[test]
    fn what_only_looks_like_a_district_is_hidden() {
        for value in
            ["人民路8号3区5幢", "阳光新村A区5幢201室", "幸福路菜市场3号", "长江路县学街2号", "王家院子区公所旁"]
        {
            assert_eq!(masked(Mask::Address, value), "****", "{value}");
            assert_eq!(masked(Mask::Address, &format!("江苏省南通市{value}")), "江苏省南通市****", "{value}");
        }
    }

    #[test]
    fn mail_keeps_its_first_character_and_domain() {
        assert_eq!(masked(Mask::Email, "zhang@example.cn"), "z***@example.cn");
        assert_eq!(masked(Mask::Email, "zhang"), "*****");
        assert_eq!(masked(Mask::Email, "@example.cn"), "***********");
    }

    #[test]
    fn an_odd_value_is_hidden_whole() {
        for (mask, value) in [
            (Mask::ResidentId, "1234567890"),
            // Longer than what is kept, but not by much: a passport's or a telephone's number in another field.
            (Mask::ResidentId, "EA123456789"),
            (Mask::BankCard, "13800138000"),
            (Mask::Mobile, "1234567"),
            (Mask::Mobile, "85123456"),
            (Mask::Passport, "E1234"),
            (Mask::Passport, "E12345"),
            (Mask::Passport, "330106199003070022"),
            (Mask::Landline, "call me"),
            (Mask::Landline, "0513"),
        ] {
            assert_eq!(masked(mask, value), "*".repeat(value.chars().count()));
        }
    }
}
