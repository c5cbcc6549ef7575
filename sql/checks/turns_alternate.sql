-- Every conversation alternates from user to assistant and has no empty turn.
select id
from conversations
where lang = $lang
    and (
        len(messages) = 0
        or len(messages) % 2 = 1
        or len(list_filter(messages, lambda m, i: m.role != if(i % 2 = 1, 'user', 'assistant') or m.content = '')) > 0
    );
