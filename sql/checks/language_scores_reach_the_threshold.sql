-- No kept persona scores below what a rejected one was refused for.
select persona_id, language_score
from filtered_personas
where lang = $lang
    and language_score < (
        select max(threshold)
        from rejected_personas
        where lang = $lang and stage = 'language'
    );
