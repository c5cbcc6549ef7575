-- Every persona's seed document exists, and its parent one hop nearer to it.
select raw.persona_id
from raw_personas as raw
left join seed_documents as document using (lang, doc_id)
left join raw_personas as parent on parent.lang = raw.lang and parent.persona_id = raw.parent_persona_id
where raw.lang = $lang
    and (
        document.doc_id is null
        or (raw.hop = 0) != (raw.parent_persona_id is null)
        or (raw.hop > 0 and parent.hop is distinct from raw.hop - 1)
    );
