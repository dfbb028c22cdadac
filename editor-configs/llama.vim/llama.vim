" llama.vim, for a running serve-copilot; in Neovim the plugin in ../neovim needs neither.
" Its pieces of other files are not used, so none are gathered.
let g:llama_config = {
    \ 'endpoint': 'http://127.0.0.1:8077/infill',
    \ 'endpoint_fim': 'http://127.0.0.1:8077/infill',
    \ 'ring_n_chunks': 0,
    \ }
