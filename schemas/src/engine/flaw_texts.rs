//! What is wrong with a schema, for people who read Chinese. The English text is the flaw's `Display`.

use super::pattern::PatternError;
use super::schema_error::Flaw;

impl Flaw {
    /// 给读中文的人。 Names and keywords stay as they are written.
    pub fn message_zh(&self) -> String {
        match self {
            Flaw::NotJson(told) => format!("不是合法的 JSON：{told}"),
            Flaw::TooLarge(most) => format!("文档超过 {most} 字节"),
            Flaw::UnknownKeyword(keyword) => format!("未知关键字 `{keyword}`"),
            Flaw::MisplacedKeyword(keyword) => format!("关键字 `{keyword}` 在此处不起作用"),
            Flaw::MissingKeyword(keyword) => format!("缺少关键字 `{keyword}`"),
            Flaw::Expected(what) => format!("应为{}", expected(what)),
            Flaw::OutOfBounds { least, most } => format!("须在 {least} 至 {most} 之间"),
            Flaw::EmptyRange => "没有任何值能同时满足下限与上限".to_owned(),
            Flaw::BadName => "名称不符合命名规则".to_owned(),
            Flaw::BadId => "`$id` 应为 urn:shuqiao:record-type:<名称>:v<版本号>".to_owned(),
            Flaw::TooDeep(most) => format!("嵌套超过 {most} 层"),
            Flaw::TooManyPlaces(most) => format!("标准所述位置超过 {most} 个（每次引用分别计数）"),
            Flaw::PatternsTooLarge(most) => format!("全部正则表达式编译后合计超过 {most} 字节"),
            Flaw::TooManyKept { array, most } => format!("针对数组 `{array}` 的规则须保留超过 {most} 个取值"),
            Flaw::SelfReference => "定义引用了自身".to_owned(),
            Flaw::UnknownReference(name) => format!("`{name}` 没有对应的定义"),
            Flaw::Pattern(error) => pattern(error),
            Flaw::UnknownIdentifier(name) => format!("没有名为 `{name}` 的标识类型"),
            Flaw::UnknownTable(name) => format!("没有名为 `{name}` 的代码表"),
            Flaw::DuplicateCode(code) => format!("代码 `{code}` 重复"),
            Flaw::DuplicateTable => "已有同名代码表".to_owned(),
            Flaw::UnusedTable => "没有字段使用此代码表".to_owned(),
            Flaw::TooManyTables(most) => format!("代码表超过 {most} 个"),
            Flaw::TooManyCodes(most) => format!("全部代码表的代码合计超过 {most} 个"),
            Flaw::Repeated(what) => format!("`{what}` 重复出现"),
            Flaw::NoSuchProperty(name) => format!("`{name}` 不在 properties 之中"),
            Flaw::NoSuchField(pointer) => format!("没有字段 `{pointer}`"),
            Flaw::InsideArray(pointer) => format!("`{pointer}` 位于数组之内"),
            Flaw::OptionalKey(pointer) => format!("主键组成部分 `{pointer}` 可能缺失或为空"),
            Flaw::WrongField { field, needs } => format!("`{field}` 应为{}", expected(needs)),
            Flaw::UnknownRule(name) => format!("没有名为 `{name}` 的规则"),
            Flaw::NoTreatment(pointer) => format!("`{pointer}` 不能这样处理"),
            Flaw::OtherName(name) => format!("`$id` 应为 {name}，与登记名称一致"),
            Flaw::NameTaken(name) => format!("`{name}` 已有内容不同的文档；变更后的标准使用下一版本号"),
            Flaw::TooManyRecordTypes(most) => format!("记录标准已达 {most} 个"),
            Flaw::RegistryFull(most) => format!("全部记录标准合计至多占用 {most} 字节，已容纳不下此标准"),
        }
    }
}

fn pattern(error: &PatternError) -> String {
    match error {
        PatternError::TooLong => "正则表达式过长".to_owned(),
        PatternError::TooLarge => "正则表达式编译后过大，长度请用 `maxLength` 限定".to_owned(),
        PatternError::Construct(what) => format!("`{what}` 超出本规范允许的正则表达式范围"),
        PatternError::Syntax => "不是合法的正则表达式".to_owned(),
    }
}

/// What was expected or needed, as the flaws name it in English.
fn expected(what: &str) -> &str {
    match what {
        "\"date\" or \"date-time\"" => " \"date\" 或 \"date-time\"",
        "\"https://json-schema.org/draft/2020-12/schema\"" => " \"https://json-schema.org/draft/2020-12/schema\"",
        "true or false" => " true 或 false",
        "false" => " false",
        "a record: `type` object" => "记录：`type` 为 object",
        "an array of JSON Pointers" => " JSON Pointer 数组",
        "an array of two JSON Pointers" => "两个 JSON Pointer 组成的数组",
        "an array of names of its properties" => "其 properties 中名称的数组",
        "an array of rules" => "规则数组",
        "an array of strings" => "字符串数组",
        "an array" => "数组",
        "an object" => "对象",
        "a string" => "字符串",
        "a text" => "非空文本",
        "a date" => "日期",
        "a number" => "数字",
        "a scalar" => "单值字段",
        "a scalar of the type" => "所声明类型的单值",
        "a whole number within 64 bits" => " 64 位以内的整数",
        "a schema object" => " schema 对象",
        "a type's name, or an array of one and \"null\"" => "类型名称，或一个类型名称与 \"null\" 组成的数组",
        "either `kind` or `kind-field`" => " `kind` 与 `kind-field` 二者之一",
        "general, important or core" => " general、important 或 core",
        "none, personal or sensitive" => " none、personal 或 sensitive",
        "a mask of the profile" => "本规范所列脱敏方式",
        "of format date or date-time" => " date 或 date-time 格式",
        "a number or a decimal" => "数字或十进制文本",
        "a type whose codes name an identifier" => "其代码指明标识类型的字段",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text that a flaw of this crate is made with, read out of its source.
    #[test]
    fn nothing_that_is_expected_is_told_in_english_alone() {
        let sources = [
            include_str!("compile.rs"),
            include_str!("declare.rs"),
            include_str!("declare_rules.rs"),
            include_str!("record_type.rs"),
            include_str!("scalars.rs"),
            include_str!("tables.rs"),
        ];
        let mut told = 0;
        for source in sources {
            for begin in ["Flaw::Expected(\"", "needs: \"", "needs = \""] {
                for rest in source.split(begin).skip(1) {
                    let mut escaped = false;
                    let text: String = rest
                        .chars()
                        .take_while(|&c| {
                            let ends = c == '"' && !escaped;
                            escaped = c == '\\';
                            !ends
                        })
                        .filter(|&c| c != '\\')
                        .collect();
                    assert_ne!(expected(&text), text, "no Chinese for what a flaw expects");
                    told += 1;
                }
            }
        }
        assert!(told > 20, "only {told} texts were found: the rule looks in the wrong place");
    }
}
