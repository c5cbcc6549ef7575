-- A persona as it was found, with its end.
select
    raw.persona_id,
    raw.persona,
    raw.method,
    raw.relation,
    raw.relation_label,
    raw.detail,
    raw.hop,
    raw.parent_persona_id,
    raw.root_persona_id,
    raw.doc_id,
    raw.answer_key,
    raw.prompt_version,
    filtered.detected_lang,
    filtered.language_score,
    fates.fate,
    fates.stage,
    fates.reason,
    fates.score,
    fates.threshold,
    fates.winner_id
from raw_personas as raw
join persona_fates as fates using (lang, persona_id)
left join filtered_personas as filtered using (lang, persona_id)
where raw.persona_id = $id;
